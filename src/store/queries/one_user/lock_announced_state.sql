-- Locks what was announced of this user, so that whoever announces their state next waits.
-- $1: user id
INSERT INTO announced_states AS known (user_id) VALUES ($1)
ON CONFLICT (user_id) DO UPDATE SET change = known.change
RETURNING change
