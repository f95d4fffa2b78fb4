-- The newest rows of history of one peer, at most 64 and at most 8 MiB, newest first.
-- $1, $2, $3: user id, room id, peer id
SELECT newest.id, newest.source, newest.metadata_raw, newest.name, newest.role,
       newest.tracks::text AS tracks, newest.joined_at, newest.first_observed_at,
       newest.last_observed_at, newest.repeats, newest.found AS "found!"
FROM (
    SELECT s.*, count(*) OVER () AS found,
           sum(coalesce(octet_length(s.metadata_raw), 0))
               OVER (ORDER BY s.first_observed_at DESC, s.last_observed_at DESC
                     ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before
    FROM (
        SELECT * FROM snapshots
        WHERE user_id = $1 AND room_id = $2 AND peer_id = $3
        ORDER BY first_observed_at DESC, last_observed_at DESC
        LIMIT 65
    ) AS s
) AS newest
WHERE coalesce(newest.bytes_before, 0) < 8388608
ORDER BY newest.first_observed_at DESC, newest.last_observed_at DESC
LIMIT 64
