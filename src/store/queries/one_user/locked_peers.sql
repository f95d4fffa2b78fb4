-- Which of these peers of one user are locked by somebody else, without waiting for them.
-- $1: user id
-- $2, $3: room ids, peer ids
-- ord: the position of the entry, from 1
WITH key AS MATERIALIZED (
    SELECT * FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS k(room_id, peer_id, ord)
), free AS MATERIALIZED (
    SELECT key.ord
    FROM key
    JOIN peers AS p ON p.room_id = key.room_id AND p.peer_id = key.peer_id
    WHERE p.user_id = $1
    FOR NO KEY UPDATE OF p SKIP LOCKED
)
SELECT key.ord AS "ord!"
FROM key
JOIN peers AS p ON p.room_id = key.room_id AND p.peer_id = key.peer_id
WHERE p.user_id = $1 AND key.ord NOT IN (SELECT ord FROM free)
