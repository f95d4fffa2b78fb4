-- Writes new states of peers, each of them a new row of history.
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
        first_observed_at, last_observed_at)
    SELECT user_id, room_id, peer_id, snapshot_id, source, metadata_raw, name, role,
           CASE source WHEN 'peer' THEN tracks END, joined_at, first_observed_at, last_observed_at
    FROM written
    -- History may outlive a peer that was erased.
    ON CONFLICT DO NOTHING
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
