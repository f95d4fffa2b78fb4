-- Waits for an erasure of the peer under way, and lets none begin until the transaction ends.
-- $1, $2, $3: user id, room id, peer id
SELECT 1 AS "one!" FROM peers
WHERE (SELECT rejoin_require_primary()) AND user_id = $1 AND room_id = $2 AND peer_id = $3
FOR KEY SHARE
