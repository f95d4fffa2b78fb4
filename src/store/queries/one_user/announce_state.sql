-- Notes which state is announced. The row is locked.
-- $1: user id
-- $2: the change of the state
UPDATE announced_states SET change = $2 WHERE user_id = $1
