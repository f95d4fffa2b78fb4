-- no-transaction
-- The peers that the end of a session may have ended.
CREATE INDEX CONCURRENTLY IF NOT EXISTS peers_live_in_room ON peers (room_id)
    WHERE connected_since IS NOT NULL AND ended_at IS NULL AND NOT ended_with_session;
