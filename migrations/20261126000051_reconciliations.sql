-- Signs of life of replicas, and the times in which nobody received webhooks.
SET lock_timeout = '5s';

CREATE TABLE replicas (
    id uuid NOT NULL,
    started_at timestamptz NOT NULL,
    alive_at timestamptz NOT NULL,
    CONSTRAINT replicas_pkey PRIMARY KEY (id)
);
CREATE INDEX replicas_alive ON replicas (alive_at);

COMMENT ON TABLE replicas IS 'The replicas that receive webhooks. Rows go an hour after the last sign of life, but for the latest.';
COMMENT ON COLUMN replicas.id IS 'Made at the start.';
COMMENT ON COLUMN replicas.started_at IS 'When it first wrote.';
COMMENT ON COLUMN replicas.alive_at IS 'When it last wrote: every five seconds.';

CREATE TABLE reconciliations (
    id uuid NOT NULL,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL,
    requested_by text,
    manual boolean NOT NULL DEFAULT false,
    due_at timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    finished_at timestamptz,
    replayed bigint,
    not_replayed bigint,
    rooms integer,
    peers bigint,
    changes bigint,
    problem text,
    CONSTRAINT reconciliations_pkey PRIMARY KEY (id)
);
-- A gap is noticed once.
CREATE UNIQUE INDEX reconciliations_gap ON reconciliations (since) WHERE NOT manual;
CREATE INDEX reconciliations_due ON reconciliations (due_at) WHERE due_at IS NOT NULL;

COMMENT ON TABLE reconciliations IS 'Times in which no replica could write, so that webhooks may have been lost, and times that somebody asked for. 100ms replays what failed then, and all active rooms are looked at.';
COMMENT ON COLUMN reconciliations.id IS 'UUIDv7.';
COMMENT ON COLUMN reconciliations.since IS 'The last sign of life before, or the start that somebody asked for.';
COMMENT ON COLUMN reconciliations.until IS 'The first after it, or the end that somebody asked for.';
COMMENT ON COLUMN reconciliations.requested_by IS 'The name of the API key that asked for it; null where none did.';
COMMENT ON COLUMN reconciliations.manual IS 'Whether somebody asked for it.';
COMMENT ON COLUMN reconciliations.due_at IS 'When a replica may take it. Who takes it moves this ahead again and again; null once it is finished.';
COMMENT ON COLUMN reconciliations.attempts IS 'How often it was taken.';
COMMENT ON COLUMN reconciliations.finished_at IS 'When it was finished.';
COMMENT ON COLUMN reconciliations.replayed IS 'How many events 100ms sent again.';
COMMENT ON COLUMN reconciliations.not_replayed IS 'How many of them failed again.';
COMMENT ON COLUMN reconciliations.rooms IS 'How many active rooms were looked at.';
COMMENT ON COLUMN reconciliations.peers IS 'How many peers were saved.';
COMMENT ON COLUMN reconciliations.changes IS 'Of how many of them something had changed.';
COMMENT ON COLUMN reconciliations.problem IS 'The problem code of what could not be done; null where all was.';
