-- The peer of one user whose metadata changed last: the first entry of an index.
-- $1: user id
-- $2: a peer to leave out, or null
SELECT 1::bigint AS "ord!", user_id, room_id, peer_id, snapshot_id, metadata_raw,
       metadata_changed_at AS "changed_at!", change_id, name, role, joined_at, last_observed_at,
       NULL::timestamptz AS "connected_since?", NULL::timestamptz AS "ended_at?", NULL::text AS "end_kind?",
       NULL::text AS "end_reason?", NULL::timestamptz AS "departed_at?", NULL::timestamptz AS "session_ended_at?",
       NULL::record[] AS "live?: Vec<LivePeer>"
FROM peers
WHERE (SELECT rejoin_require_primary()) AND metadata_changed_at IS NOT NULL AND ($2::text IS NULL OR peer_id <> $2)
  AND user_id = $1
ORDER BY metadata_changed_at DESC, restored_at DESC NULLS LAST, joined_at DESC NULLS LAST, peer_id DESC,
         room_id DESC
LIMIT 1
