-- A page of a user's history, newest first: the primary key, read from its newest end.
-- $1: user id
-- $2: room id, or null for all rooms
-- $3: peer id, or null for all peers
-- $4: only rows first observed at or after this, or null
-- $5: only rows first observed before this, or null
-- $6, $7: when the last row of the page before was first observed, and its id; or null
-- $8: how many rows to read: one more than the page may have
-- $9: the page ends with the row that brings it to this many bytes of metadata and tracks
-- found: how many rows were read, those that no longer fit among them
SELECT page.found AS "found!", page.user_id, page.room_id, page.peer_id, page.id, page.source,
       page.metadata_raw, page.name, page.role, page.tracks::text AS tracks, page.joined_at,
       page.first_observed_at, page.last_observed_at
FROM (
    SELECT newest.*, count(*) OVER () AS found,
           sum(coalesce(octet_length(newest.metadata_raw), 0) + coalesce(octet_length(newest.tracks::text), 0))
               OVER (ORDER BY newest.first_observed_at DESC, newest.id DESC
                     ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
    FROM (
        SELECT * FROM snapshots
        WHERE user_id = $1
          AND ($2::text IS NULL OR room_id = $2)
          AND ($3::text IS NULL OR peer_id = $3)
          AND ($4::timestamptz IS NULL OR first_observed_at >= $4)
          AND ($5::timestamptz IS NULL OR first_observed_at < $5)
          AND ($6::timestamptz IS NULL OR (first_observed_at, id) < ($6, $7::uuid))
        ORDER BY first_observed_at DESC, id DESC
        LIMIT $8
    ) AS newest
) AS page
WHERE (SELECT rejoin_require_primary()) AND coalesce(page.before, 0) < $9
ORDER BY page.first_observed_at DESC, page.id DESC
