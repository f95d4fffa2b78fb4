-- Takes events that are due: of each room the first one that does not stand aside, else the first due of those that do,
-- and none of a room of which one is being sent. So those that stand aside hold up neither the others of their room nor
-- other rooms, however many they are. Replicas do this one after another, so that none takes another event of the same room.
--
-- An event whose lease ran out again and again is dead: no attempt at it comes to an end. It is returned too.
-- $1: how many at most
-- $2: the lease, in seconds
-- $3: for how long an event may be there without an attempt that ends, in seconds
-- $4: how many attempts it has had then, at least. Without these, those whose replica was away for so long would be dead.
WITH RECURSIVE head AS (
    (SELECT room_id, id, due_at FROM forwards
     WHERE state = 'waiting' AND NOT aside ORDER BY room_id, position LIMIT 1)
    UNION ALL
    SELECT next.room_id, next.id, next.due_at
    FROM head CROSS JOIN LATERAL (
        SELECT room_id, id, due_at FROM forwards
        WHERE state = 'waiting' AND NOT aside AND room_id > head.room_id ORDER BY room_id, position LIMIT 1) AS next
), aside AS (
    (SELECT room_id, id, due_at FROM forwards
     WHERE state = 'waiting' AND aside ORDER BY room_id, due_at LIMIT 1)
    UNION ALL
    SELECT next.room_id, next.id, next.due_at
    FROM aside CROSS JOIN LATERAL (
        SELECT room_id, id, due_at FROM forwards
        WHERE state = 'waiting' AND aside AND room_id > aside.room_id ORDER BY room_id, due_at LIMIT 1) AS next
), candidate AS (
    SELECT room_id, id, due_at, false AS is_aside FROM head WHERE due_at <= now()
    UNION ALL
    SELECT room_id, id, due_at, true AS is_aside FROM aside WHERE due_at <= now()
), first_of_room AS (
    SELECT DISTINCT ON (room_id) id, due_at FROM candidate
    WHERE NOT EXISTS (
        SELECT FROM forwards AS other
        WHERE other.room_id = candidate.room_id AND other.sending AND other.due_at > now())
    ORDER BY room_id, is_aside
), taken AS (
    SELECT id, sending AND attempts >= $4 AND received_at < now() - make_interval(secs => $3) AS is_over FROM forwards
    WHERE id IN (SELECT id FROM first_of_room ORDER BY due_at LIMIT $1)
    FOR UPDATE SKIP LOCKED
)
UPDATE forwards SET
    sending = NOT is_over,
    attempts = CASE WHEN is_over THEN attempts ELSE attempts + 1 END,
    due_at = CASE WHEN is_over THEN now() ELSE now() + make_interval(secs => $2) END,
    state = CASE WHEN is_over THEN 'dead' ELSE 'waiting' END,
    dead_at = CASE WHEN is_over THEN now() END,
    last_error = CASE WHEN is_over THEN 'no attempt came to an end: what sent it stopped each time' ELSE last_error END
FROM taken
WHERE forwards.id = taken.id
RETURNING forwards.id, attempts, room_id, user_id, headers::text AS "headers!", body,
    extract(epoch FROM now() - received_at)::float8 AS "age_seconds!", is_over AS "is_over!"
