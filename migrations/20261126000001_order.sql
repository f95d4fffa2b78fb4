-- What the ordering rules need so that the outcome does not depend on the order of arrival.
-- All columns are nullable and without defaults, so that this takes no time and the previous binary goes on.
SET lock_timeout = '5s';

ALTER TABLE peers
    ADD COLUMN change_id uuid,
    ADD COLUMN change_observed_at timestamptz,
    ADD COLUMN other_metadata_at timestamptz,
    ADD COLUMN preceded_at timestamptz,
    ADD COLUMN join_metadata uuid,
    ADD COLUMN restored_answered_at timestamptz;

COMMENT ON COLUMN peers.version IS 'Changes with each write of this row, to a number that no other write gives it. A write that was based on another version is not made, and tried again.';
COMMENT ON COLUMN peers.snapshot_id IS 'The row of snapshots that is current. All zeros while nothing but presence is known of the peer.';
COMMENT ON COLUMN peers.metadata_changed_at IS 'When the latest change of the metadata counts as made; null while the peer never had any. Resume returns the user''s latest. A change of a ghost is dated back to its drop.';
COMMENT ON COLUMN peers.change_id IS 'Names that change, also when it is dated back or restored to another peer. Claims are of it.';
COMMENT ON COLUMN peers.change_observed_at IS 'When the changed metadata was first observed.';
COMMENT ON COLUMN peers.other_metadata_at IS 'When other metadata was last observed before that change.';
COMMENT ON COLUMN peers.preceded_at IS 'When the row of snapshots before the current one was last observed; null where there is none.';
COMMENT ON COLUMN peers.join_metadata IS 'A digest of the metadata that the join of the peer set; null where that was empty or is not known.';
COMMENT ON COLUMN peers.restored_answered_at IS 'When 100ms answered that the peer has the saved state that was sent; null until then.';
COMMENT ON COLUMN peers.joined_at IS 'When the peer joined: the latest time that any source named.';
COMMENT ON COLUMN peers.ended_at IS 'When the peer ended; null while it has not. Only a later join undoes an end.';

ALTER TABLE snapshots ADD COLUMN repeats timestamptz[];
COMMENT ON TABLE snapshots IS 'History: one row for each content of each peer. What arrives out of order may move the times of a row, or split it.';
COMMENT ON COLUMN snapshots.id IS 'UUIDv7 of the time under which the row was first recorded. It stays when the row is found to begin earlier.';
COMMENT ON COLUMN snapshots.repeats IS 'The newest times, at most 32, at which this content was observed between the first and the last.';
COMMENT ON COLUMN snapshots_default.repeats IS 'The newest times, at most 32, at which this content was observed between the first and the last.';

-- The presence of a peer whose session ended: it ended with it, unless it joined later. A room's end knows whole seconds only.
CREATE OR REPLACE VIEW peer_presence AS
SELECT peers.user_id, peers.room_id, peers.peer_id, peers.name, peers.role, peers.joined_at, peers.last_observed_at,
       CASE WHEN peers.ended_at IS NOT NULL THEN peers.end_kind
            WHEN session_end.ended_at IS NOT NULL THEN 'ended'
            WHEN peers.connected_since IS NOT NULL THEN 'connected'
            ELSE 'unknown' END AS status,
       peers.end_reason AS reason,
       coalesce(peers.ended_at, session_end.ended_at, peers.connected_since) AS since
FROM peers
LEFT JOIN LATERAL (
    SELECT s.ended_at FROM session_ends s
    WHERE s.room_id = peers.room_id
      AND s.ended_at > coalesce(greatest(peers.connected_since, peers.joined_at), peers.first_observed_at) - interval '1 second'
      AND (s.ended_at >= coalesce(greatest(peers.connected_since, peers.joined_at), peers.first_observed_at)
           OR s.ended_at = date_trunc('second', s.ended_at))
      AND (peers.session_id IS NULL OR s.session_id IN (peers.session_id, ''))
    ORDER BY s.ended_at LIMIT 1
) AS session_end ON true;

-- Rows that begin at one instant follow each other by what they hold, empty metadata first. Only an observation that is older
-- than the rows that are rebuilt can still lie within the time of another row.
CREATE OR REPLACE VIEW snapshot_history AS
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
               ORDER BY marked.first_observed_at, marked.last_observed_at, marked.is_set, marked.metadata_raw NULLS FIRST,
                        marked.name COLLATE "C" NULLS FIRST, marked.role COLLATE "C" NULLS FIRST, marked.id
               ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS next_at
    FROM (
        SELECT s.*, coalesce(octet_length(s.metadata_raw), 0) > 0 AS is_set,
               coalesce(s.first_observed_at < max(s.last_observed_at) OVER (
                   PARTITION BY s.user_id, s.room_id, s.peer_id
                   ORDER BY s.first_observed_at, s.last_observed_at, s.id
                   ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), false) AS within
        FROM snapshots s
    ) AS marked
) AS timed;
