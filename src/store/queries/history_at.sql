-- A page of what was current at an instant, one row for each peer of a user, newest first.
--
-- It is the row of the peer that was last observed at or before the instant. A very old observation
-- can lie within the time of another row. Then the one that was observed on both sides of the
-- instant, or nearest before it, is the current one. The view snapshot_history says the same.
--
-- $1: user id
-- $2: room id, or null for all rooms
-- $3: peer id, or null for all peers
-- $4: the instant
-- $5, $6: when the last row of the page before was first observed, and its id; or null
-- $7: how many rows to read: one more than the page may have
-- $8: the page ends with the row that brings it to this many bytes of metadata and tracks
-- found: how many rows were read, those that no longer fit among them
WITH RECURSIVE peer AS (
    -- The peers of the user that have history, also those that are not in peers any more: each is the next one in the index.
    (
        SELECT room_id, peer_id FROM snapshots
        WHERE user_id = $1 AND ($2::text IS NULL OR room_id = $2) AND ($3::text IS NULL OR peer_id = $3)
        ORDER BY room_id, peer_id LIMIT 1
    )
    UNION ALL
    SELECT next.room_id, next.peer_id
    FROM peer
    CROSS JOIN LATERAL (
        SELECT s.room_id, s.peer_id FROM snapshots s
        WHERE s.user_id = $1 AND (s.room_id, s.peer_id) > (peer.room_id, peer.peer_id)
          AND ($2::text IS NULL OR s.room_id = $2) AND ($3::text IS NULL OR s.peer_id = $3)
        ORDER BY s.room_id, s.peer_id LIMIT 1
    ) AS next
)
SELECT page.found AS "found!", page.user_id, page.room_id, page.peer_id, page.id, page.source,
       page.metadata_raw, page.name, page.role, page.tracks::text AS tracks, page.joined_at,
       page.first_observed_at, page.last_observed_at
FROM (
    SELECT newest.*, count(*) OVER () AS found,
           sum(coalesce(octet_length(newest.metadata_raw), 0) + coalesce(octet_length(newest.tracks::text), 0))
               OVER (ORDER BY newest.first_observed_at DESC, newest.id DESC
                     ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
    FROM (
        SELECT current.* FROM peer
        CROSS JOIN LATERAL (
            SELECT * FROM snapshots s
            WHERE s.user_id = $1 AND s.room_id = peer.room_id AND s.peer_id = peer.peer_id
              AND s.first_observed_at <= $4
            ORDER BY LEAST(s.last_observed_at, $4) DESC, s.last_observed_at > $4 DESC, s.first_observed_at DESC,
                     coalesce(octet_length(s.metadata_raw), 0) > 0 DESC, s.metadata_raw DESC NULLS LAST,
                     s.name COLLATE "C" DESC NULLS LAST, s.role COLLATE "C" DESC NULLS LAST, s.id DESC
            LIMIT 1
        ) AS current
        WHERE $5::timestamptz IS NULL OR (current.first_observed_at, current.id) < ($5, $6::uuid)
        ORDER BY current.first_observed_at DESC, current.id DESC
        LIMIT $7
    ) AS newest
) AS page
WHERE (SELECT rejoin_require_primary()) AND coalesce(page.before, 0) < $8
ORDER BY page.first_observed_at DESC, page.id DESC
