-- Adds a row to the log of restores and claims, unless it is there already, or is a second claim of
-- one change.
-- $1: user id
-- $2: id of the row
-- $3: kind: 'restore' or 'claim'
-- $4: when
-- $5, $6: the change, and the snapshot that holds it
-- $7, $8: room id and peer id of the peer whose state it is
-- $9, $10: room id and peer id of the peer it is for, or null
-- $11: whether a join caused it
-- $12: the name of the API key of the request, or null
-- $13: who claims, or null
-- $14: when the peer whose state it is dropped, or null
-- $15, $16: the outcome, and the problem code of a failure
INSERT INTO resumes (
    user_id, id, kind, at, change, snapshot_id, from_room_id, from_peer_id, to_room_id,
    to_peer_id, automatic, requested_by, claimed_by, dropped_at, outcome, problem)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
ON CONFLICT DO NOTHING
