-- no-transaction
-- The events that failed and wait for another attempt: they are due at once when the endpoint is back.
CREATE INDEX CONCURRENTLY IF NOT EXISTS forwards_failing ON forwards (due_at)
    WHERE state = 'waiting' AND failing_since IS NOT NULL AND NOT sending;
