-- Rooms that are looked at regularly, single peers that are to be fetched, and what one replica at a time does.
SET lock_timeout = '5s';

CREATE TABLE watches (
    room_id text COLLATE "C" NOT NULL,
    every interval NOT NULL,
    until timestamptz,
    requested_by text,
    automatic boolean NOT NULL,
    started_at timestamptz NOT NULL,
    next_look_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    looking boolean NOT NULL DEFAULT false,
    looks bigint NOT NULL DEFAULT 0,
    last_look_at timestamptz,
    last_outcome text,
    last_peers integer,
    last_changes integer,
    inactive_looks smallint NOT NULL DEFAULT 0,
    inactive_at timestamptz,
    CONSTRAINT watches_pkey PRIMARY KEY (room_id),
    CONSTRAINT watches_every CHECK (every BETWEEN interval '5 seconds' AND interval '1 hour')
);
CREATE INDEX watches_due ON watches (due_at);
CREATE INDEX watches_next_look ON watches (next_look_at, room_id);

COMMENT ON TABLE watches IS 'Rooms that are looked at regularly: all of their peers are fetched and saved. A row goes when its watch ends.';
COMMENT ON COLUMN watches.room_id IS 'The room.';
COMMENT ON COLUMN watches.every IS 'How often it is looked at.';
COMMENT ON COLUMN watches.until IS 'When the watch ends; null while the room is active.';
COMMENT ON COLUMN watches.requested_by IS 'The name of the API key that asked for it; null where none did.';
COMMENT ON COLUMN watches.automatic IS 'Whether REJOIN_WATCH=active began it. Then the end of the session ends it.';
COMMENT ON COLUMN watches.started_at IS 'When it began: the time of the event, of the list of sessions, or of the request.';
COMMENT ON COLUMN watches.next_look_at IS 'When the next look is scheduled. Long past where 100ms or the pace allows no more looks.';
COMMENT ON COLUMN watches.due_at IS 'When a worker may take it. Who takes it moves this ahead again and again: what a dead worker has is left to another then.';
COMMENT ON COLUMN watches.looking IS 'Whether a worker has it.';
COMMENT ON COLUMN watches.looks IS 'How often a worker has taken it.';
COMMENT ON COLUMN watches.last_look_at IS 'When the last look ended.';
COMMENT ON COLUMN watches.last_outcome IS 'ok, or the problem code of the last look.';
COMMENT ON COLUMN watches.last_peers IS 'How many peers the last look saved.';
COMMENT ON COLUMN watches.last_changes IS 'Of how many of them something had changed.';
COMMENT ON COLUMN watches.inactive_looks IS 'At how many looks in a row, two minutes apart at least, the room was not active. The third ends the watch.';
COMMENT ON COLUMN watches.inactive_at IS 'When the last of those was.';

CREATE TABLE fetch_jobs (
    room_id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    peer_id text COLLATE "C" NOT NULL,
    event_at timestamptz NOT NULL,
    queued_at timestamptz NOT NULL,
    due_at timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    fetched_at timestamptz,
    outcome text,
    CONSTRAINT fetch_jobs_pkey PRIMARY KEY (user_id, room_id, peer_id)
);
CREATE INDEX fetch_jobs_due ON fetch_jobs (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX fetch_jobs_fetched ON fetch_jobs (fetched_at) WHERE due_at IS NULL;

COMMENT ON TABLE fetch_jobs IS 'Peers that an event makes worth fetching at once, in rooms that are watched. A row stays for an hour after the fetch, so that a repeated event causes no other.';
COMMENT ON COLUMN fetch_jobs.room_id IS 'The room.';
COMMENT ON COLUMN fetch_jobs.user_id IS 'Whose peer it is.';
COMMENT ON COLUMN fetch_jobs.peer_id IS 'The peer; empty for all peers of the user in the room.';
COMMENT ON COLUMN fetch_jobs.event_at IS 'When the latest such event was.';
COMMENT ON COLUMN fetch_jobs.queued_at IS 'When it was queued.';
COMMENT ON COLUMN fetch_jobs.due_at IS 'When a worker may take it. Who takes it moves this ahead; null once it is done.';
COMMENT ON COLUMN fetch_jobs.attempts IS 'How often it was taken since it was queued.';
COMMENT ON COLUMN fetch_jobs.fetched_at IS 'When it was done, or given up.';
COMMENT ON COLUMN fetch_jobs.outcome IS 'ok, or the problem code of the last attempt.';

-- What is done by one replica at a time, now and then.
CREATE TABLE duties (
    name text NOT NULL,
    done_at timestamptz,
    leased_until timestamptz,
    CONSTRAINT duties_pkey PRIMARY KEY (name)
);

COMMENT ON TABLE duties IS 'What one replica at a time does now and then.';
COMMENT ON COLUMN duties.name IS 'What: sessions, the list of active sessions is read for rooms to watch.';
COMMENT ON COLUMN duties.done_at IS 'When it was last done.';
COMMENT ON COLUMN duties.leased_until IS 'Until when a replica has it; past or null where none has.';
