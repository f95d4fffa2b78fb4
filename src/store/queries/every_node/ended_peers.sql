-- Peers that ended longer ago than the given age, in the order in which they ended.
-- $1: the age, in seconds
-- $2 to $5: those after this one: when it ended, user id, room id, peer id
-- $6: how many at most
SELECT coalesce(ended_at, departed_at, connected_since) AS "at!", user_id, room_id, peer_id, version
FROM peers
WHERE (SELECT rejoin_require_primary()) AND (ended_at IS NOT NULL OR ended_with_session)
  AND coalesce(ended_at, departed_at, connected_since) >= $2
  AND coalesce(ended_at, departed_at, connected_since) < now() - make_interval(secs => $1)
  AND (coalesce(ended_at, departed_at, connected_since), user_id, room_id, peer_id) > ($2, $3, $4, $5)
ORDER BY 1, user_id, room_id, peer_id
LIMIT $6
