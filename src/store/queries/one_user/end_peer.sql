-- Marks a peer that ended with its session, unless it is known by now that it did not.
-- $1, $2, $3: user id, room id and peer id
-- $4: session id; empty for whichever session the room had
-- $5: when it ended
UPDATE peers SET ended_with_session = true
WHERE user_id = $1 AND room_id = $2 AND peer_id = $3
  AND connected_since IS NOT NULL AND ended_at IS NULL AND NOT ended_with_session
  AND $5 >= greatest(connected_since, joined_at)
  AND (session_id IS NULL OR $4 IN (session_id, ''))
