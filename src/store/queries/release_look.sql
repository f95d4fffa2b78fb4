-- Gives a room back without a look, to be taken again from then on. Its look stays as late as it is.
-- $1: room id
-- $2: which look
-- $3: after how many seconds
UPDATE watches SET looking = false, due_at = now() + make_interval(secs => $3)
WHERE room_id = $1 AND looks = $2 AND looking
