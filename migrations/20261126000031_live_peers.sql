-- no-transaction
-- The connected peers of a user, and nearly nothing else. It replaces peers_connected, which the previous binary reads.
CREATE INDEX CONCURRENTLY IF NOT EXISTS peers_live ON peers (user_id, connected_since DESC, peer_id DESC)
    WHERE connected_since IS NOT NULL AND ended_at IS NULL AND NOT ended_with_session;
