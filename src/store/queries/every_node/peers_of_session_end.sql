-- The peers that ended with their session and are not marked.
-- $1, $2: room id and session id; an empty one for whichever session the room had
-- $3: when it ended
-- $4: how many at most
SELECT user_id, peer_id FROM peers
WHERE (SELECT rejoin_require_primary()) AND room_id = $1 AND connected_since IS NOT NULL AND ended_at IS NULL AND NOT ended_with_session
  AND $3 >= greatest(connected_since, joined_at)
  AND (session_id IS NULL OR $2 IN (session_id, ''))
LIMIT $4
