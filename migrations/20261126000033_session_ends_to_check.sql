-- no-transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS session_ends_to_check ON session_ends (next_check_at)
    WHERE next_check_at IS NOT NULL;
