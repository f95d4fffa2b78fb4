-- The peers of one user that count as connected, those that joined last first. Some may have ended with their session.
-- $1: user id
-- $2: how many at most
-- connected_at: since when each is there
SELECT room_id, peer_id, joined_at, session_id, greatest(connected_since, joined_at) AS "connected_at!"
FROM peers
WHERE rejoin_require_primary() AND user_id = $1
  AND connected_since IS NOT NULL AND ended_at IS NULL AND NOT ended_with_session
  AND (departed_at IS NULL OR departed_at < greatest(connected_since, joined_at))
ORDER BY connected_since DESC, peer_id DESC
LIMIT $2
