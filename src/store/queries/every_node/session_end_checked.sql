-- Notes that the peers of a session that ended are marked, unless a later end was reported meanwhile.
-- $1, $2: room id and session id
-- $3: when it ended
-- $4: when to check again, or null
UPDATE session_ends SET next_check_at = $4 WHERE room_id = $1 AND session_id = $2 AND ended_at = $3
