-- The peer of one user whose metadata changed last, in any room or in one: the first entry of an index. Without a subquery,
-- so that Citus plans it in the shortest way.
-- $1: user id
-- $2: a peer to leave out, or null
-- $3: a room id, or null
-- connected_at: since when it was there
SELECT user_id, room_id, peer_id, snapshot_id, metadata_raw, metadata_changed_at AS "changed_at!", change_id, name, role,
       joined_at, last_observed_at, connected_since, ended_at, end_kind, end_reason, departed_at, session_id,
       coalesce(greatest(connected_since, joined_at), first_observed_at) AS "connected_at!"
FROM peers
WHERE rejoin_require_primary() AND metadata_changed_at IS NOT NULL AND ($2::text IS NULL OR peer_id <> $2)
  AND user_id = $1 AND ($3::text IS NULL OR room_id = $3)
ORDER BY metadata_changed_at DESC, restored_at DESC NULLS LAST, joined_at DESC NULLS LAST, peer_id DESC,
         room_id DESC
LIMIT 1
