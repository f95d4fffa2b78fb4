-- Whether the user has another peer in the room that counts as connected: a ghost, most likely.
-- $1, $2, $3: user id, room id and peer id of the new peer
SELECT rejoin_require_primary() AND EXISTS (
    SELECT FROM peers
    WHERE user_id = $1 AND room_id = $2 AND peer_id <> $3
      AND connected_since IS NOT NULL AND ended_at IS NULL AND NOT ended_with_session
      AND (departed_at IS NULL OR departed_at < greatest(connected_since, joined_at))
) AS "has!"
