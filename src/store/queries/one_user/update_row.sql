-- Updates a row of history.
-- $1: user id
-- $2, $3: the first time under which it is stored, and its id
-- $4 to $10: source, name, role, tracks, first and last time, repeats as an array in text
UPDATE snapshots SET
    source = $4, name = $5, role = $6, tracks = $7::text::json, first_observed_at = $8, last_observed_at = $9,
    repeats = $10::text::timestamptz[]
WHERE user_id = $1 AND first_observed_at = $2 AND id = $3
