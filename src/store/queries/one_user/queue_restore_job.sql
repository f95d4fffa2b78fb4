-- Queues a restore.
-- $1, $2, $3: user id, room id and peer id of the new peer
-- $4: when it was requested
INSERT INTO restore_jobs (user_id, room_id, peer_id, queued_at, due_at) VALUES ($1, $2, $3, $4, $4)
ON CONFLICT (user_id, room_id, peer_id) DO NOTHING
