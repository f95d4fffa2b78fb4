-- Peers of a session that count as connected, and that nobody has seen for a while, nor asked 100ms about since.
-- $1: for how long, in seconds
-- $2, $3: room id, session id
-- $4, $5: those after this user id and peer id
-- $6: how many at most
SELECT user_id, peer_id
FROM peers
WHERE (SELECT rejoin_require_primary())
  AND connected_since IS NOT NULL AND ended_at IS NULL AND NOT ended_with_session
  AND greatest(last_observed_at, connected_since) < now() - make_interval(secs => $1)
  AND (presence_checked_at IS NULL OR presence_checked_at < now() - make_interval(secs => $1))
  AND room_id = $2 AND session_id = $3
  AND (user_id, peer_id) > ($4, $5)
ORDER BY user_id, peer_id
LIMIT $6
