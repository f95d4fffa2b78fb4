-- Adds a claim to the log, unless it is there already, or is a second claim of one change.
-- $1: user id
-- $2: id of the row
-- $3: when
-- $4, $5: the change, and the snapshot that holds it
-- $6, $7: room id and peer id of the peer whose state it is
-- $8, $9: room id and peer id of the peer it is for, or null
-- $10: whether a join caused it
-- $11: the name of the API key of the request, or null
-- $12: who claims
-- $13: when the peer whose state it is dropped, or null
INSERT INTO resumes (
    user_id, id, kind, at, change, snapshot_id, from_room_id, from_peer_id, to_room_id, to_peer_id, automatic,
    requested_by, claimed_by, dropped_at, outcome)
VALUES ($1, $2, 'claim', $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 'claimed')
ON CONFLICT DO NOTHING
