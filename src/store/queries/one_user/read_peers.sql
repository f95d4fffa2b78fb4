-- The stored states of some peers of one user: the baseline of a save.
-- $1: user id
-- $2, $3: room ids and peer ids, one entry for each peer.
SELECT known.user_id, known.room_id, known.peer_id, known.version, known.snapshot_id, known.source,
       known.metadata_raw, known.metadata_changed_at, known.name, known.role, known.tracks::text AS tracks,
       known.joined_at, known.first_observed_at, known.last_observed_at, known.connected_since,
       known.session_id, known.ended_at, known.end_kind, known.end_reason, known.restored_at,
       known.restored_change, known.restored_changed_at, known.restored_answered_at, known.change_id,
       known.change_observed_at, known.other_metadata_at, known.preceded_at, known.join_metadata
FROM peers AS known
JOIN unnest($2::text[], $3::text[]) AS q(room_id, peer_id)
  ON known.room_id = q.room_id AND known.peer_id = q.peer_id
WHERE (SELECT rejoin_require_primary()) AND known.user_id = $1
