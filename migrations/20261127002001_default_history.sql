-- no-transaction
-- History outside the partitions, in the order in which it is moved to a new one, or deleted.
CREATE INDEX CONCURRENTLY IF NOT EXISTS snapshots_default_by_time ON snapshots_default (first_observed_at);
