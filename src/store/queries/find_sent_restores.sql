-- Finishes the restores whose answer was lost, once the state is found on the peer, and returns them.
-- $1, $2, $3: user id, room id and peer id of the peer
-- $4: the change
UPDATE resumes SET outcome = 'restored', problem = NULL
FROM (
    -- Of a user who was erased meanwhile, nothing is written. The lock waits for an erasure under way.
    SELECT FROM peers WHERE user_id = $1 AND room_id = $2 AND peer_id = $3
    FOR KEY SHARE
) AS peer
WHERE user_id = $1 AND to_room_id = $2 AND to_peer_id = $3 AND change = $4 AND kind = 'restore'
  AND (outcome = 'sending'
       OR outcome = 'failed' AND problem IN ('upstream-unavailable', 'upstream-timeout'))
RETURNING at, snapshot_id, from_room_id, from_peer_id, automatic
