-- Which of these peers are locked by somebody else, without waiting for them.
--
-- $1 to $3: user ids, room ids, peer ids
WITH key AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[])
      WITH ORDINALITY AS k(user_id, room_id, peer_id, ord)
), free AS MATERIALIZED (
    SELECT key.ord
    FROM key
    JOIN peers p
      ON p.user_id = key.user_id AND p.room_id = key.room_id AND p.peer_id = key.peer_id
    FOR NO KEY UPDATE OF p SKIP LOCKED
)
SELECT key.ord AS "ord!"
FROM key
JOIN peers p ON p.user_id = key.user_id AND p.room_id = key.room_id AND p.peer_id = key.peer_id
WHERE key.ord NOT IN (SELECT ord FROM free)
