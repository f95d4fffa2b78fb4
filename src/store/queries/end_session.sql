-- Saves the end of a session. Of several ends of one session, the latest counts.
-- $1: room id
-- $2: session id; empty for whichever session the room had
-- $3: when it ended
INSERT INTO session_ends AS known (room_id, session_id, ended_at) VALUES ($1, $2, $3)
ON CONFLICT (room_id, session_id) DO UPDATE SET ended_at = excluded.ended_at, next_check_at = now()
WHERE known.ended_at < excluded.ended_at
