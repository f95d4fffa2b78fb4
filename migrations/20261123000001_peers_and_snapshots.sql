-- What the service keeps: the current state of every peer, and the history behind it.
-- Every key starts with user_id, so that both tables can be distributed by it.
-- Ids collate as bytes, so that "the greater peer_id" means the same on every server.

CREATE TABLE peers (
    user_id text COLLATE "C" NOT NULL,
    room_id text COLLATE "C" NOT NULL,
    peer_id text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    snapshot_id uuid NOT NULL,
    source text NOT NULL,
    metadata_raw bytea,
    metadata_changed_at timestamptz,
    name text,
    role text,
    tracks json,
    joined_at timestamptz,
    first_observed_at timestamptz NOT NULL,
    last_observed_at timestamptz NOT NULL,
    CONSTRAINT peers_pkey PRIMARY KEY (user_id, room_id, peer_id)
) WITH (fillfactor = 80);

-- Resume is the first entry of one of these two: its cost does not depend on how many peers or rooms a user has had.
CREATE INDEX peers_resume ON peers
    (user_id, metadata_changed_at DESC, joined_at DESC NULLS LAST, peer_id DESC, room_id DESC)
    WHERE metadata_changed_at IS NOT NULL;
CREATE INDEX peers_resume_in_room ON peers
    (user_id, room_id, metadata_changed_at DESC, joined_at DESC NULLS LAST, peer_id DESC)
    WHERE metadata_changed_at IS NOT NULL;

COMMENT ON TABLE peers IS 'The newest state of every peer that was ever seen. Resume reads this table.';
COMMENT ON COLUMN peers.user_id IS 'The customer''s own id of the person, from the join token.';
COMMENT ON COLUMN peers.room_id IS 'The 100ms room.';
COMMENT ON COLUMN peers.peer_id IS 'The 100ms peer: one connection of the person, new on every join.';
COMMENT ON COLUMN peers.version IS 'Counts the writes of this row; a write that did not see the newest version is not made, and tried again.';
COMMENT ON COLUMN peers.snapshot_id IS 'The row of snapshots that is in force.';
COMMENT ON COLUMN peers.source IS 'Where the content in force was first seen: peer or room.';
COMMENT ON COLUMN peers.metadata_raw IS 'The exact UTF-8 bytes of the metadata; null when 100ms had null or nothing.';
COMMENT ON COLUMN peers.metadata_changed_at IS 'When the metadata last changed; null while the peer never had any. Resume returns the user''s latest.';
COMMENT ON COLUMN peers.name IS 'The display name; null when names are not stored.';
COMMENT ON COLUMN peers.role IS 'The last known role.';
COMMENT ON COLUMN peers.tracks IS 'The last known tracks, by track id.';
COMMENT ON COLUMN peers.joined_at IS 'When the peer joined, if known.';
COMMENT ON COLUMN peers.first_observed_at IS 'When the content in force was first seen.';
COMMENT ON COLUMN peers.last_observed_at IS 'When the content in force was last seen.';

CREATE TABLE snapshots (
    user_id text COLLATE "C" NOT NULL,
    room_id text COLLATE "C" NOT NULL,
    peer_id text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    source text NOT NULL,
    metadata_raw bytea,
    name text,
    role text,
    tracks json,
    joined_at timestamptz,
    first_observed_at timestamptz NOT NULL,
    last_observed_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT snapshots_pkey PRIMARY KEY (user_id, first_observed_at, id)
) PARTITION BY RANGE (first_observed_at);

CREATE INDEX snapshots_of_peer ON snapshots (user_id, room_id, peer_id, first_observed_at);

COMMENT ON TABLE snapshots IS 'History: one row for each content of each peer. Rows are added; only last_observed_at ever changes.';
COMMENT ON COLUMN snapshots.user_id IS 'The customer''s own id of the person.';
COMMENT ON COLUMN snapshots.room_id IS 'The 100ms room.';
COMMENT ON COLUMN snapshots.peer_id IS 'The 100ms peer.';
COMMENT ON COLUMN snapshots.id IS 'UUIDv7 of first_observed_at and a digest of the row: the same observation is the same row.';
COMMENT ON COLUMN snapshots.source IS 'Where this content was first seen: peer or room.';
COMMENT ON COLUMN snapshots.metadata_raw IS 'The exact UTF-8 bytes of the metadata; null when 100ms had null or nothing.';
COMMENT ON COLUMN snapshots.name IS 'The display name; null when names are not stored.';
COMMENT ON COLUMN snapshots.role IS 'The role.';
COMMENT ON COLUMN snapshots.tracks IS 'The tracks by track id; null when the source has none.';
COMMENT ON COLUMN snapshots.joined_at IS 'When the peer joined, if known.';
COMMENT ON COLUMN snapshots.first_observed_at IS 'When this content was first seen. Partition key.';
COMMENT ON COLUMN snapshots.last_observed_at IS 'When this content was last seen.';
COMMENT ON COLUMN snapshots.recorded_at IS 'When the row was written: later than first_observed_at for what arrived late.';

-- What no month's partition takes: history from before the first of them, and anything if they were not prepared.
CREATE TABLE snapshots_default (LIKE snapshots INCLUDING DEFAULTS INCLUDING COMMENTS);
ALTER TABLE snapshots ATTACH PARTITION snapshots_default DEFAULT;
COMMENT ON TABLE snapshots_default IS 'History outside the prepared months.';

-- Called at every start and once a day. Runs with its owner's rights, so that the service needs none to create tables.
-- It looks in this schema alone, and last among temporary tables: a caller's own could otherwise stand in for ours.
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);
CREATE FUNCTION rejoin_prepare_partitions(starting timestamptz, months integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    lower timestamptz;
    upper timestamptz;
    part text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('rejoin_prepare_partitions'));
    FOR month IN 0 .. months LOOP
        lower := date_trunc('month', starting AT TIME ZONE 'UTC') AT TIME ZONE 'UTC';
        lower := (lower AT TIME ZONE 'UTC' + make_interval(months => month)) AT TIME ZONE 'UTC';
        upper := (lower AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC';
        part := to_char(lower AT TIME ZONE 'UTC', '"snapshots_"YYYY_MM');
        CONTINUE WHEN to_regclass(part) IS NOT NULL;
        EXECUTE format('CREATE TABLE %I (LIKE snapshots INCLUDING DEFAULTS INCLUDING COMMENTS) WITH (fillfactor = 90)', part);
        EXECUTE format(
            'WITH moved AS (DELETE FROM snapshots_default WHERE first_observed_at >= %1$L AND first_observed_at < %2$L RETURNING *)
             INSERT INTO %3$I SELECT * FROM moved', lower, upper, part);
        EXECUTE format('ALTER TABLE snapshots ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', part, lower, upper);
        EXECUTE format('COMMENT ON TABLE %I IS %L', part, 'History of ' || to_char(lower AT TIME ZONE 'UTC', 'YYYY-MM') || ' (UTC).');
    END LOOP;
END $$;
REVOKE EXECUTE ON FUNCTION rejoin_prepare_partitions(timestamptz, integer) FROM PUBLIC;
COMMENT ON FUNCTION rejoin_prepare_partitions(timestamptz, integer) IS
    'Makes the partitions of the month of `starting` and of the given number of months after it, where they are missing.';
