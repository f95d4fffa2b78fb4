-- Finishes the restores whose answer was lost, once the state is found on the peer.
-- $1, $2, $3: user id, room id and peer id of the peer
-- $4: the change
UPDATE resumes SET outcome = 'restored', problem = NULL
WHERE user_id = $1 AND to_room_id = $2 AND to_peer_id = $3 AND change = $4 AND kind = 'restore'
  AND (outcome = 'sending'
       OR outcome = 'failed' AND problem IN ('upstream-unavailable', 'upstream-timeout'))
