-- Extends a row of history that was observed again.
-- $1, $2: user id, snapshot id
-- $3: under which first time it is stored
-- $4, $5: its first and last time now
-- $6: times of observations, as an array in text
UPDATE snapshots SET
    first_observed_at = $4, last_observed_at = $5,
    repeats = (
        SELECT array_agg(newest.at ORDER BY newest.at)
        FROM (
            SELECT DISTINCT times.at
            FROM unnest(coalesce(snapshots.repeats, '{}') || $6::text::timestamptz[]) AS times(at)
            WHERE times.at > $4 AND times.at < $5
            ORDER BY times.at DESC LIMIT 32
        ) AS newest)
WHERE user_id = $1 AND id = $2 AND first_observed_at = $3
