-- no-transaction
-- The peers that ended, in the order in which they may be deleted.
CREATE INDEX CONCURRENTLY IF NOT EXISTS peers_ended ON peers ((coalesce(ended_at, departed_at, connected_since)))
    WHERE ended_at IS NOT NULL OR ended_with_session;
