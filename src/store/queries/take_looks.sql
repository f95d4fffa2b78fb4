-- Takes the rooms whose looks are due, the latest first, and deletes watches that are over. Nobody else takes a room
-- while the lease lasts.
-- $1: how many at most
-- $2: the lease, in seconds
WITH due AS (
    SELECT room_id, until <= now() AS is_over FROM watches
    WHERE due_at <= now() ORDER BY due_at LIMIT $1
    FOR UPDATE SKIP LOCKED
), ended AS (
    DELETE FROM watches USING due WHERE watches.room_id = due.room_id AND due.is_over
)
UPDATE watches SET looking = true, looks = looks + 1, due_at = now() + make_interval(secs => $2)
FROM due
WHERE watches.room_id = due.room_id AND due.is_over IS NOT TRUE
RETURNING watches.room_id, watches.looks
