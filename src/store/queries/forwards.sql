-- A page of the events that were not passed on yet, in the order in which they came.
-- $1: those after this position
-- $2: their state; null for any
-- $3: how many at most
SELECT position, id, room_id, user_id, received_at, state, attempts, due_at, failing_since, last_error, dead_at
FROM forwards
WHERE (SELECT rejoin_require_primary()) AND position > $1 AND ($2::text IS NULL OR state = $2)
ORDER BY position
LIMIT $3
