-- Reconciliations that are tried again, and that another replica goes on with.
-- The new columns have no default that is computed, so that this takes no time and the previous binary goes on.
SET lock_timeout = '5s';

ALTER TABLE reconciliations ADD COLUMN begun_at timestamptz, ADD COLUMN replays jsonb NOT NULL DEFAULT '{}';
COMMENT ON COLUMN reconciliations.begun_at IS 'When it was first taken. Nothing after it is replayed.';
COMMENT ON COLUMN reconciliations.replays IS 'The replays that were begun: for each time, the id of its workflow at 100ms.';
COMMENT ON COLUMN reconciliations.due_at IS 'When a replica may take it. Who takes it moves this ahead again and again; what could not be done is tried again then; null once it is finished.';

ALTER TABLE replicas ADD COLUMN gap_at timestamptz;
COMMENT ON COLUMN replicas.gap_at IS 'When it was last the first to write after nobody had for a while, however short.';
