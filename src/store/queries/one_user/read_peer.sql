-- The stored state of a peer: the baseline of a save. Without a subquery, so that Citus plans it in the shortest way.
-- $1, $2, $3: user id, room id and peer id
SELECT user_id, room_id, peer_id, version, snapshot_id, source,
       metadata_raw, metadata_changed_at, name, role, tracks::text AS tracks,
       joined_at, first_observed_at, last_observed_at, connected_since,
       session_id, ended_at, end_kind, end_reason, restored_at,
       restored_change, restored_changed_at, restored_answered_at, change_id,
       change_observed_at, other_metadata_at, preceded_at, join_metadata
FROM peers
WHERE rejoin_require_primary() AND user_id = $1 AND room_id = $2 AND peer_id = $3
