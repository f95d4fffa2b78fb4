-- Writes the state of a peer that is new.
-- $1 to $28: as update_peer.sql
INSERT INTO peers (
    user_id, room_id, peer_id, snapshot_id, source, metadata_raw, name, role, tracks, joined_at, first_observed_at,
    last_observed_at, version, metadata_changed_at, connected_since, session_id, ended_at, end_kind, end_reason,
    restored_at, restored_change, restored_changed_at, restored_answered_at, change_id, change_observed_at,
    other_metadata_at, preceded_at, join_metadata)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::json, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
        $23, $24, $25, $26, $27, $28)
ON CONFLICT DO NOTHING
