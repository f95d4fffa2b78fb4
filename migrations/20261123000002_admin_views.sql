-- What admins read. No odd row can make these fail: what is not UTF-8 text or JSON that Postgres can keep is null.

CREATE FUNCTION rejoin_text(raw bytea) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog AS $$
BEGIN
    RETURN convert_from(raw, 'UTF8');
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END $$;
COMMENT ON FUNCTION rejoin_text(bytea) IS 'Metadata as text; null where it holds a NUL, which text cannot.';

CREATE FUNCTION rejoin_jsonb(raw bytea) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog AS $$
BEGIN
    RETURN nullif(convert_from(raw, 'UTF8'), '')::jsonb;
EXCEPTION WHEN OTHERS THEN
    BEGIN
        RETURN to_jsonb(convert_from(raw, 'UTF8'));
    EXCEPTION WHEN OTHERS THEN
        RETURN NULL;
    END;
END $$;
COMMENT ON FUNCTION rejoin_jsonb(bytea) IS
    'Metadata as jsonb: itself where it is JSON that jsonb can hold, else as a JSON string; null where it is empty or holds a NUL.';

CREATE VIEW resume_state AS
SELECT newest.user_id, newest.room_id, newest.peer_id, newest.name, newest.role,
       rejoin_jsonb(newest.metadata_raw) AS metadata,
       rejoin_text(newest.metadata_raw) AS metadata_text,
       newest.metadata_raw,
       newest.joined_at,
       newest.metadata_changed_at AS changed_at,
       newest.last_observed_at,
       newest.snapshot_id
FROM (
    SELECT DISTINCT ON (user_id) *
    FROM peers
    WHERE metadata_changed_at IS NOT NULL
    ORDER BY user_id, metadata_changed_at DESC, joined_at DESC NULLS LAST, peer_id DESC, room_id DESC
) AS newest
WHERE octet_length(newest.metadata_raw) > 0;

COMMENT ON VIEW resume_state IS 'Per user, exactly what resume returns; users who have nothing to resume are not in it.';
COMMENT ON COLUMN resume_state.user_id IS 'Whose state it is.';
COMMENT ON COLUMN resume_state.room_id IS 'The room of the peer whose state it is.';
COMMENT ON COLUMN resume_state.peer_id IS 'The peer whose state it is.';
COMMENT ON COLUMN resume_state.name IS 'The display name.';
COMMENT ON COLUMN resume_state.role IS 'The role.';
COMMENT ON COLUMN resume_state.metadata IS 'The metadata as jsonb (key order and duplicate keys are lost here), as a JSON string where it is not JSON.';
COMMENT ON COLUMN resume_state.metadata_text IS 'The metadata as text; null where it holds a NUL.';
COMMENT ON COLUMN resume_state.metadata_raw IS 'The exact bytes of the metadata.';
COMMENT ON COLUMN resume_state.joined_at IS 'When the peer joined.';
COMMENT ON COLUMN resume_state.changed_at IS 'When the metadata last changed.';
COMMENT ON COLUMN resume_state.last_observed_at IS 'When the peer was last seen so.';
COMMENT ON COLUMN resume_state.snapshot_id IS 'The row of history that this state is.';

CREATE VIEW snapshot_history AS
SELECT timed.id, timed.user_id, timed.room_id, timed.peer_id, timed.name, timed.role,
       rejoin_jsonb(timed.metadata_raw) AS metadata,
       rejoin_text(timed.metadata_raw) AS metadata_text,
       timed.metadata_raw, timed.tracks, timed.joined_at,
       timed.first_observed_at AS valid_from,
       CASE WHEN timed.within THEN timed.last_observed_at ELSE timed.next_at END AS valid_to,
       timed.first_observed_at, timed.last_observed_at, timed.source, timed.recorded_at
FROM (
    SELECT marked.*,
           min(marked.first_observed_at) FILTER (WHERE NOT marked.within) OVER (
               PARTITION BY marked.user_id, marked.room_id, marked.peer_id
               ORDER BY marked.first_observed_at, marked.last_observed_at DESC, marked.id DESC
               ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS next_at
    FROM (
        -- A sight that arrived late can lie within the time of another row: it says what was there at that one instant.
        -- Of rows that begin at one instant the longest is the one that goes on.
        SELECT s.*,
               coalesce(s.first_observed_at <= max(s.last_observed_at) OVER (
                   PARTITION BY s.user_id, s.room_id, s.peer_id
                   ORDER BY s.first_observed_at, s.last_observed_at DESC, s.id DESC
                   ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), false) AS within
        FROM snapshots s
    ) AS marked
) AS timed;

COMMENT ON VIEW snapshot_history IS 'History with the time in which each row was in force.';
COMMENT ON COLUMN snapshot_history.id IS 'The row of snapshots.';
COMMENT ON COLUMN snapshot_history.user_id IS 'Whose.';
COMMENT ON COLUMN snapshot_history.room_id IS 'The room.';
COMMENT ON COLUMN snapshot_history.peer_id IS 'The peer.';
COMMENT ON COLUMN snapshot_history.name IS 'The display name.';
COMMENT ON COLUMN snapshot_history.role IS 'The role.';
COMMENT ON COLUMN snapshot_history.metadata IS 'The metadata as jsonb, as a JSON string where it is not JSON; null where it cannot be.';
COMMENT ON COLUMN snapshot_history.metadata_text IS 'The metadata as text; null where it holds a NUL.';
COMMENT ON COLUMN snapshot_history.metadata_raw IS 'The exact bytes of the metadata.';
COMMENT ON COLUMN snapshot_history.tracks IS 'The tracks by track id; null when the source has none.';
COMMENT ON COLUMN snapshot_history.joined_at IS 'When the peer joined.';
COMMENT ON COLUMN snapshot_history.valid_from IS 'From when this content was in force (when it was first seen).';
COMMENT ON COLUMN snapshot_history.valid_to IS 'Until when: when the next content was first seen, null while there is none. Of a row that arrived late and lies within the time of another: when it was seen.';
COMMENT ON COLUMN snapshot_history.first_observed_at IS 'When this content was first seen.';
COMMENT ON COLUMN snapshot_history.last_observed_at IS 'When this content was last seen.';
COMMENT ON COLUMN snapshot_history.source IS 'Where this content was first seen.';
COMMENT ON COLUMN snapshot_history.recorded_at IS 'When the row was written.';
