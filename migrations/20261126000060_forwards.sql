-- Events that wait to be passed on to another webhook endpoint.
SET lock_timeout = '5s';

CREATE TABLE forwards (
    position bigint GENERATED ALWAYS AS IDENTITY,
    id uuid NOT NULL,
    room_id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C",
    received_at timestamptz NOT NULL,
    headers jsonb NOT NULL,
    body bytea NOT NULL,
    state text NOT NULL DEFAULT 'waiting',
    attempts integer NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL,
    sending boolean NOT NULL DEFAULT false,
    failing_since timestamptz,
    aside boolean NOT NULL DEFAULT false,
    last_error text,
    dead_at timestamptz,
    CONSTRAINT forwards_pkey PRIMARY KEY (id),
    CONSTRAINT forwards_state CHECK (state IN ('waiting', 'dead'))
);
CREATE INDEX forwards_in_order ON forwards (room_id, position) WHERE state = 'waiting' AND NOT aside;
CREATE INDEX forwards_aside ON forwards (due_at) WHERE state = 'waiting' AND aside;
CREATE INDEX forwards_sending ON forwards (room_id) WHERE sending;
CREATE INDEX forwards_dead ON forwards (dead_at) WHERE state = 'dead';
CREATE INDEX forwards_position ON forwards (position);
-- Rows come and go: what is left of them would slow the look for the next ones.
ALTER TABLE forwards SET (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 2000);

COMMENT ON TABLE forwards IS 'Events of 100ms that wait to be passed on to REJOIN_FORWARD_URL, and for a week those that never were. A row goes when its event is accepted.';
COMMENT ON COLUMN forwards.position IS 'The order in which the events came.';
COMMENT ON COLUMN forwards.id IS 'The webhook-id that the event is sent with, the same at each attempt.';
COMMENT ON COLUMN forwards.room_id IS 'The room whose events are sent in order; empty where the event names none.';
COMMENT ON COLUMN forwards.user_id IS 'Whose peer the event is about; null where it is about none.';
COMMENT ON COLUMN forwards.received_at IS 'When the event came.';
COMMENT ON COLUMN forwards.headers IS 'The headers that it came with and that are passed on: pairs of a name and a value, each character of which is a byte.';
COMMENT ON COLUMN forwards.body IS 'The event as it came, byte for byte.';
COMMENT ON COLUMN forwards.state IS 'waiting, or dead: it was refused for good, or for 24 hours.';
COMMENT ON COLUMN forwards.attempts IS 'How often it was sent.';
COMMENT ON COLUMN forwards.due_at IS 'When it is sent next. Who sends it moves this ahead: what a dead replica has is left to another then.';
COMMENT ON COLUMN forwards.sending IS 'Whether a replica is sending it; one that died leaves this until due_at.';
COMMENT ON COLUMN forwards.failing_since IS 'When its first attempt failed.';
COMMENT ON COLUMN forwards.aside IS 'Whether later events of its room go first: it fails while others are accepted.';
COMMENT ON COLUMN forwards.last_error IS 'What came of the last attempt.';
COMMENT ON COLUMN forwards.dead_at IS 'When it was given up. A week later it is deleted.';

-- What is known of the endpoint, in one row.
CREATE TABLE forward_endpoint (
    name text NOT NULL,
    accepted_at timestamptz NOT NULL,
    CONSTRAINT forward_endpoint_pkey PRIMARY KEY (name)
);
INSERT INTO forward_endpoint (name, accepted_at) VALUES ('endpoint', '-infinity');

COMMENT ON TABLE forward_endpoint IS 'The endpoint that events are passed on to: one row.';
COMMENT ON COLUMN forward_endpoint.name IS 'Always endpoint.';
COMMENT ON COLUMN forward_endpoint.accepted_at IS 'When it last accepted an event, up to 5 seconds early.';
