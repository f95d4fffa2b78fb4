-- Queues restores of users who have a saved state, or another connected peer of which one may still
-- be reported.
--
-- One entry for each restore:
-- $1 to $3: user ids, room ids and peer ids of the new peers
-- $4: when the restores were requested
INSERT INTO restore_jobs (user_id, room_id, peer_id, queued_at, due_at)
SELECT q.user_id, q.room_id, q.peer_id, q.at, q.at
FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) AS q(user_id, room_id, peer_id, at)
WHERE EXISTS (
        SELECT FROM peers
        WHERE peers.user_id = q.user_id AND peers.metadata_changed_at IS NOT NULL)
   OR EXISTS (
        SELECT FROM peers
        WHERE peers.user_id = q.user_id AND peers.connected_since IS NOT NULL AND peers.ended_at IS NULL
          AND (peers.room_id, peers.peer_id) <> (q.room_id, q.peer_id))
ON CONFLICT (user_id, room_id, peer_id) DO NOTHING
