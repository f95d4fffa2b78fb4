-- Keeps a room for another lease; no row where somebody else has it meanwhile, or the watch is over.
-- $1: room id
-- $2: which look
-- $3: the lease, in seconds
UPDATE watches SET due_at = now() + make_interval(secs => $3)
WHERE room_id = $1 AND looks = $2 AND looking
