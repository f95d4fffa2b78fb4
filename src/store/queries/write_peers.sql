-- Writes new states of peers, each with one new row of history that is taken from the state itself.
--
-- A peer is written only where its baseline still holds: no row, or the version and the snapshot it
-- was based on. Peers whose baseline no longer holds are missing from the result.
--
-- One entry for each peer:
-- $1 to $3: user ids, room ids, peer ids
-- $4: ids of the current snapshots
-- $5 to $10: sources, metadata, names, roles, tracks, times of the joins
-- $11, $12: when the current content was first and last observed
-- $13: the new versions, each one more than that of its baseline
-- $14: times of the last change of the metadata
-- $15 to $19: presence: connected since, session id, end, kind and reason of the end
-- $20 to $22: restore marks: time, change, time of the change
-- $23: snapshot ids of the baselines; null of a new peer
WITH written AS (
    INSERT INTO peers AS known (
        user_id, room_id, peer_id, snapshot_id, source, metadata_raw, name, role, tracks,
        joined_at, first_observed_at, last_observed_at, version, metadata_changed_at,
        connected_since, session_id, ended_at, end_kind, end_reason,
        restored_at, restored_change, restored_changed_at)
    SELECT user_id, room_id, peer_id, snapshot_id, source, metadata_raw, name, role, tracks,
           joined_at, first_observed_at, last_observed_at, version, metadata_changed_at,
           connected_since, session_id, ended_at, end_kind, end_reason,
           restored_at, restored_change, restored_changed_at
    FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::bytea[], $7::text[], $8::text[],
        $9::text[]::json[], $10::timestamptz[], $11::timestamptz[], $12::timestamptz[], $13::bigint[],
        $14::timestamptz[], $15::timestamptz[], $16::text[], $17::timestamptz[], $18::text[], $19::text[],
        $20::timestamptz[], $21::uuid[], $22::timestamptz[], $23::uuid[])
      AS new_state(
        user_id, room_id, peer_id, snapshot_id, source, metadata_raw, name, role, tracks,
        joined_at, first_observed_at, last_observed_at, version, metadata_changed_at,
        connected_since, session_id, ended_at, end_kind, end_reason,
        restored_at, restored_change, restored_changed_at, baseline_snapshot_id)
    WHERE new_state.baseline_snapshot_id IS NULL OR new_state.baseline_snapshot_id = (
        SELECT stored.snapshot_id FROM peers stored
        WHERE stored.user_id = new_state.user_id AND stored.room_id = new_state.room_id
          AND stored.peer_id = new_state.peer_id)
    ON CONFLICT (user_id, room_id, peer_id) DO UPDATE SET
        snapshot_id = excluded.snapshot_id, source = excluded.source, metadata_raw = excluded.metadata_raw,
        name = excluded.name, role = excluded.role, tracks = excluded.tracks, joined_at = excluded.joined_at,
        first_observed_at = excluded.first_observed_at, last_observed_at = excluded.last_observed_at,
        version = excluded.version, metadata_changed_at = excluded.metadata_changed_at,
        connected_since = excluded.connected_since, session_id = excluded.session_id,
        ended_at = excluded.ended_at, end_kind = excluded.end_kind, end_reason = excluded.end_reason,
        restored_at = excluded.restored_at, restored_change = excluded.restored_change,
        restored_changed_at = excluded.restored_changed_at
    WHERE known.version = excluded.version - 1
    RETURNING user_id, room_id, peer_id, snapshot_id, source, metadata_raw, name, role, tracks, joined_at,
              first_observed_at, last_observed_at
), added AS (
    INSERT INTO snapshots (
        user_id, room_id, peer_id, id, source, metadata_raw, name, role, tracks,
        joined_at, first_observed_at, last_observed_at)
    SELECT user_id, room_id, peer_id, snapshot_id, source, metadata_raw, name, role,
           CASE source WHEN 'peer' THEN tracks END, joined_at, first_observed_at, last_observed_at
    FROM written
)
SELECT snapshot_id FROM written
