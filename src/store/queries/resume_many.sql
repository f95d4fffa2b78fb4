-- Of each of these users, the peer whose metadata changed last: the first entry of an index.
-- $1: user ids
-- $2: for each, a peer to leave out, or null
-- ord: the position of the entry, from 1
SELECT q.ord AS "ord!", newest.user_id, newest.room_id, newest.peer_id, newest.snapshot_id,
       newest.metadata_raw, newest.metadata_changed_at AS "changed_at!", newest.change_id, newest.name, newest.role,
       newest.joined_at, newest.last_observed_at,
       NULL::timestamptz AS "connected_since?", NULL::timestamptz AS "ended_at?", NULL::text AS "end_kind?",
       NULL::text AS "end_reason?", NULL::timestamptz AS "departed_at?", NULL::timestamptz AS "session_ended_at?",
       NULL::record[] AS "live?: Vec<LivePeer>"
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS q(user_id, excluded, ord)
CROSS JOIN LATERAL (
    SELECT * FROM peers
    WHERE metadata_changed_at IS NOT NULL AND (q.excluded IS NULL OR peer_id <> q.excluded)
      AND user_id = q.user_id
    ORDER BY metadata_changed_at DESC, restored_at DESC NULLS LAST, joined_at DESC NULLS LAST, peer_id DESC,
             room_id DESC
    LIMIT 1
) AS newest
WHERE (SELECT rejoin_require_primary())
