-- no-transaction
-- The peers for which an end of a session is kept.
CREATE INDEX CONCURRENTLY IF NOT EXISTS peers_ended_with_session ON peers (room_id, connected_since)
    WHERE ended_with_session AND ended_at IS NULL;
