-- Whether an end of this peer, or of its session, was reported, or its session at 100ms says that it left. The end of a room knows whole seconds only.
-- $1, $2, $3: user id, room id, peer id
SELECT peers.ended_at IS NOT NULL OR coalesce(peers.departed_at >= joined.at, false) OR EXISTS (
    SELECT FROM session_ends s
    WHERE s.room_id = peers.room_id
      AND s.ended_at > joined.at - interval '1 second'
      AND (s.ended_at >= joined.at OR s.ended_at = date_trunc('second', s.ended_at))
      AND (peers.session_id IS NULL OR s.session_id IN (peers.session_id, ''))) AS "has_ended!"
FROM peers
CROSS JOIN LATERAL (
    SELECT coalesce(greatest(peers.connected_since, peers.joined_at), peers.first_observed_at) AS at
) AS joined
WHERE (SELECT rejoin_require_primary()) AND peers.user_id = $1 AND peers.room_id = $2 AND peers.peer_id = $3
