-- Notes which states are announced. The rows are locked.
-- $1: user ids
-- $2: the changes of their states
UPDATE announced_states SET change = a.change
FROM unnest($1::text[], $2::uuid[]) AS a(user_id, change)
WHERE announced_states.user_id = a.user_id
