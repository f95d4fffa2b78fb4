-- Writes new states of peers, and any history with them: as write_peers.sql, but only some states are
-- new rows of history, there may be intermediate rows before them, and the current row of the
-- baseline may have been observed again.
--
-- A peer is written only where its baseline still holds: a known one by UPDATE of the version that the
-- write was based on, a new one by INSERT. So nothing brings back a peer that was erased meanwhile.
-- The result has the versions that were written. Peers whose baseline no longer holds are missing;
-- is_written is false where it held when the statement began, and was changed or erased meanwhile.
--
-- One entry for each peer:
-- $1 to $3: user ids, room ids, peer ids
-- $4: ids of the current snapshots; all zeros of a peer of which only presence is known
-- $5 to $10: sources, metadata, names, roles, tracks, times of the joins
-- $11, $12: when the current content was first and last observed
-- $13: the new versions
-- $14: when the latest change of the metadata counts as made
-- $15 to $19: presence: connected since, session id, end, kind and reason of the end
-- $20 to $23: restore marks: time, change, time of the change, time of the answer
-- $24 to $26: the latest change: id, when it was observed, when other metadata was observed before
-- $27: when the snapshot before the current one was last observed
-- $28: digests of the metadata of the joins
-- $29: the versions of the baselines; null of a new peer
-- One entry for each state that is a new row of history:
-- $30: its version
-- $31: the times between its first and its last observation, as arrays in text
-- One entry for each intermediate row:
-- $32 to $43: as $1 to $12
-- $44: as $31
-- $45: the version of the state with which it is written
-- One entry for each row that was observed again:
-- $46, $47: user id, snapshot id
-- $48: under which first time it is stored
-- $49, $50: its first and last time now
-- $51: times of observations, as arrays in text
-- $52: the version of the state with which it is written
WITH new_state AS MATERIALIZED (
    SELECT *
    FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::bytea[], $7::text[],
        $8::text[], $9::text[]::json[], $10::timestamptz[], $11::timestamptz[], $12::timestamptz[],
        $13::bigint[], $14::timestamptz[], $15::timestamptz[], $16::text[], $17::timestamptz[],
        $18::text[], $19::text[], $20::timestamptz[], $21::uuid[], $22::timestamptz[],
        $23::timestamptz[], $24::uuid[], $25::timestamptz[], $26::timestamptz[],
        $27::timestamptz[], $28::uuid[], $29::bigint[])
      AS n(
        user_id, room_id, peer_id, snapshot_id, source, metadata_raw, name, role, tracks,
        joined_at, first_observed_at, last_observed_at, version, metadata_changed_at,
        connected_since, session_id, ended_at, end_kind, end_reason, restored_at, restored_change,
        restored_changed_at, restored_answered_at, change_id, change_observed_at,
        other_metadata_at, preceded_at, join_metadata, baseline_version)
    -- A row that somebody else has locked is not waited for: whoever else is in the batch would wait.
    CROSS JOIN (SELECT set_config('lock_timeout', '40ms', true) AS lock_timeout) AS setting
), updated AS (
    -- The keys are compared as ranges of one entry: so the only plan is to look up each in the index.
    UPDATE peers SET
        snapshot_id = n.snapshot_id, source = n.source,
        -- What is the same is not written again, where it is stored apart from the row.
        metadata_raw = CASE WHEN peers.metadata_raw IS NOT DISTINCT FROM n.metadata_raw
                            THEN peers.metadata_raw ELSE n.metadata_raw END,
        name = n.name, role = n.role, tracks = n.tracks, joined_at = n.joined_at,
        first_observed_at = n.first_observed_at, last_observed_at = n.last_observed_at,
        version = n.version, metadata_changed_at = n.metadata_changed_at,
        connected_since = n.connected_since, session_id = n.session_id, ended_at = n.ended_at,
        end_kind = n.end_kind, end_reason = n.end_reason, restored_at = n.restored_at,
        restored_change = n.restored_change, restored_changed_at = n.restored_changed_at,
        restored_answered_at = n.restored_answered_at, change_id = n.change_id,
        change_observed_at = n.change_observed_at, other_metadata_at = n.other_metadata_at,
        preceded_at = n.preceded_at, join_metadata = n.join_metadata,
        ended_with_session = peers.ended_with_session
            AND (peers.session_id, peers.connected_since, peers.joined_at)
                IS NOT DISTINCT FROM (n.session_id, n.connected_since, n.joined_at)
    FROM new_state n
    WHERE (peers.user_id, peers.room_id, peers.peer_id) >= (n.user_id, n.room_id, n.peer_id)
      AND (peers.user_id, peers.room_id, peers.peer_id) <= (n.user_id, n.room_id, n.peer_id)
      AND peers.version = n.baseline_version
    RETURNING peers.user_id, peers.room_id, peers.peer_id,
              peers.snapshot_id, peers.source, peers.metadata_raw, peers.name, peers.role,
              peers.tracks, peers.joined_at, peers.first_observed_at, peers.last_observed_at,
              peers.version
), inserted AS (
    INSERT INTO peers (
        user_id, room_id, peer_id, snapshot_id, source, metadata_raw, name, role, tracks,
        joined_at, first_observed_at, last_observed_at, version, metadata_changed_at,
        connected_since, session_id, ended_at, end_kind, end_reason, restored_at, restored_change,
        restored_changed_at, restored_answered_at, change_id, change_observed_at,
        other_metadata_at, preceded_at, join_metadata)
    SELECT
        user_id, room_id, peer_id, snapshot_id, source, metadata_raw, name, role, tracks,
        joined_at, first_observed_at, last_observed_at, version, metadata_changed_at,
        connected_since, session_id, ended_at, end_kind, end_reason, restored_at, restored_change,
        restored_changed_at, restored_answered_at, change_id, change_observed_at,
        other_metadata_at, preceded_at, join_metadata
    FROM new_state WHERE baseline_version IS NULL
    ON CONFLICT DO NOTHING
    RETURNING
        user_id, room_id, peer_id, snapshot_id, source, metadata_raw, name, role, tracks,
        joined_at, first_observed_at, last_observed_at, version
), written AS (
    SELECT * FROM updated UNION ALL SELECT * FROM inserted
), added AS (
    INSERT INTO snapshots (
        user_id, room_id, peer_id, id, source, metadata_raw, name, role, tracks, joined_at,
        first_observed_at, last_observed_at, repeats)
    SELECT user_id, room_id, peer_id, snapshot_id, source, metadata_raw, name, role,
           CASE source WHEN 'peer' THEN tracks END, joined_at, first_observed_at, last_observed_at,
           new.repeats::timestamptz[]
    FROM written
    JOIN unnest($30::bigint[], $31::text[]) AS new(version, repeats) ON new.version = written.version
    UNION ALL
    SELECT i.user_id, i.room_id, i.peer_id, i.id, i.source, i.metadata_raw, i.name, i.role, i.tracks,
           i.joined_at, i.first_observed_at, i.last_observed_at, i.repeats::timestamptz[]
    FROM unnest(
        $32::text[], $33::text[], $34::text[], $35::uuid[], $36::text[], $37::bytea[], $38::text[],
        $39::text[], $40::text[]::json[], $41::timestamptz[], $42::timestamptz[], $43::timestamptz[],
        $44::text[], $45::bigint[])
      AS i(
        user_id, room_id, peer_id, id, source, metadata_raw, name, role, tracks, joined_at,
        first_observed_at, last_observed_at, repeats, version)
    JOIN written ON written.version = i.version
    -- History may outlive a peer that was erased.
    ON CONFLICT DO NOTHING
), extended AS (
    UPDATE snapshots SET
        first_observed_at = e.first_observed_at, last_observed_at = e.last_observed_at,
        repeats = (
            SELECT array_agg(newest.at ORDER BY newest.at)
            FROM (
                SELECT DISTINCT times.at
                FROM unnest(coalesce(snapshots.repeats, '{}') || e.times::timestamptz[]) AS times(at)
                WHERE times.at > e.first_observed_at AND times.at < e.last_observed_at
                ORDER BY times.at DESC LIMIT 32
            ) AS newest)
    FROM unnest(
        $46::text[], $47::uuid[], $48::timestamptz[], $49::timestamptz[], $50::timestamptz[],
        $51::text[], $52::bigint[])
      AS e(user_id, id, stored_at, first_observed_at, last_observed_at, times, version)
    JOIN written ON written.version = e.version
    WHERE snapshots.user_id = e.user_id AND snapshots.first_observed_at = e.stored_at
      AND snapshots.id = e.id
)
SELECT version AS "version!", true AS "is_written!" FROM written
UNION ALL
-- Of those that are not written, the ones whose baseline held when the statement began.
SELECT n.version, false
FROM new_state n
WHERE n.baseline_version IS NOT NULL AND n.version NOT IN (SELECT version FROM written)
  AND EXISTS (
      SELECT FROM peers p
      WHERE p.user_id = n.user_id AND p.room_id = n.room_id AND p.peer_id = n.peer_id
        AND p.version = n.baseline_version)
