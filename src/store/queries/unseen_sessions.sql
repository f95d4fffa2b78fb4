-- Sessions with peers that count as connected, and that nobody has seen for a while, nor asked 100ms about since.
-- $1: for how long, in seconds
-- $2: whether only in rooms that are watched
-- $3: only in this room; null for all
-- $4, $5: those after this room id and session id
-- $6: how many at most
SELECT DISTINCT peers.room_id, peers.session_id AS "session_id!"
FROM peers
WHERE (SELECT rejoin_require_primary())
  AND peers.connected_since IS NOT NULL AND peers.ended_at IS NULL AND NOT peers.ended_with_session
  AND greatest(peers.last_observed_at, peers.connected_since) < now() - make_interval(secs => $1)
  AND (peers.presence_checked_at IS NULL OR peers.presence_checked_at < now() - make_interval(secs => $1))
  AND (NOT $2 OR peers.room_id IN (SELECT watches.room_id FROM watches))
  AND ($3::text IS NULL OR peers.room_id = $3)
  AND (peers.room_id, peers.session_id) > ($4, $5)
ORDER BY 1, 2
LIMIT $6
