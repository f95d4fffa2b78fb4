-- Adds a row of history.
-- $1 to $3: user id, room id, peer id
-- $4 to $10: id, source, metadata, name, role, tracks, time of the join
-- $11, $12: first and last time
-- $13: the times between them, as an array in text
INSERT INTO snapshots (
    user_id, room_id, peer_id, id, source, metadata_raw, name, role, tracks, joined_at, first_observed_at,
    last_observed_at, repeats)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::json, $10, $11, $12, $13::text::timestamptz[])
-- History may outlive a peer that was erased.
ON CONFLICT DO NOTHING
