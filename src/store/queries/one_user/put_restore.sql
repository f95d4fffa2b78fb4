-- Writes the row of a restore in the log: before the state is sent, and again with the outcome. A row that says that the
-- state was restored stays.
-- $1: user id
-- $2: id of the row
-- $3: when
-- $4, $5: the change, and the snapshot that holds it
-- $6, $7: room id and peer id of the peer whose state it is
-- $8, $9: room id and peer id of the peer it is for
-- $10: whether a join caused it
-- $11: the name of the API key of the request, or null
-- $12: when the peer whose state it is dropped, or null
-- $13, $14: the outcome, and its problem
INSERT INTO resumes AS r (
    user_id, id, kind, at, change, snapshot_id, from_room_id, from_peer_id, to_room_id, to_peer_id, automatic,
    requested_by, dropped_at, outcome, problem)
VALUES ($1, $2, 'restore', $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
ON CONFLICT (user_id, id) DO UPDATE
SET at = excluded.at, change = excluded.change, snapshot_id = excluded.snapshot_id,
    from_room_id = excluded.from_room_id, from_peer_id = excluded.from_peer_id,
    dropped_at = excluded.dropped_at, outcome = excluded.outcome, problem = excluded.problem
WHERE r.outcome <> 'restored'
