-- Removes rows of history.
-- $1: user id
-- $2, $3: when each was first observed, and its id
DELETE FROM snapshots USING unnest($2::timestamptz[], $3::uuid[]) AS r(first_observed_at, id)
WHERE snapshots.user_id = $1 AND snapshots.first_observed_at = r.first_observed_at AND snapshots.id = r.id
