-- Whether the user has a saved state, or another connected peer of which one may still be reported.
-- $1, $2, $3: user id, room id and peer id of the new peer
SELECT rejoin_require_primary() AND EXISTS (
    SELECT FROM peers
    WHERE user_id = $1 AND (
        metadata_changed_at IS NOT NULL
        OR connected_since IS NOT NULL AND ended_at IS NULL AND (room_id, peer_id) <> ($2, $3))
) AS "has!"
