-- Deletes a row of peers, if no answer needs it any more: as ../compact_peers.sql, which says when that is so.
-- $1, $2, $3: user id, room id and peer id
-- $4: its version
-- $5: the age, in seconds
WITH page AS MATERIALIZED (
    SELECT * FROM peers WHERE user_id = $1 AND room_id = $2 AND peer_id = $3 AND version = $4
), ended AS MATERIALIZED (
    SELECT page.*, coalesce(page.ended_at, departed.at, session_end.at) IS NOT NULL AS has_ended,
           greatest(page.last_observed_at, page.connected_since, page.joined_at, page.ended_at, page.departed_at,
                    page.restored_at, page.restored_answered_at, page.change_observed_at, page.metadata_changed_at,
                    session_end.at) AS latest_at
    FROM page
    CROSS JOIN LATERAL (
        SELECT coalesce(greatest(page.connected_since, page.joined_at), page.first_observed_at) AS at
    ) AS joined
    CROSS JOIN LATERAL (
        SELECT CASE WHEN page.departed_at >= joined.at THEN page.departed_at END AS at
    ) AS departed
    -- As peer_presence has it.
    LEFT JOIN LATERAL (
        SELECT s.ended_at AS at FROM session_ends s
        WHERE page.ended_at IS NULL AND s.room_id = page.room_id
          AND s.ended_at > joined.at - interval '1 second'
          AND (s.ended_at >= joined.at OR s.ended_at = date_trunc('second', s.ended_at))
          AND (page.session_id IS NULL OR s.session_id IN (page.session_id, ''))
        ORDER BY s.ended_at LIMIT 1
    ) AS session_end ON true
), unneeded AS MATERIALIZED (
    SELECT * FROM ended AS old
    WHERE has_ended AND latest_at < now() - make_interval(secs => $5)
      AND (metadata_changed_at IS NULL OR 2 = (
        SELECT count(*) FROM (
            SELECT FROM peers newer
            WHERE newer.user_id = $1 AND newer.room_id = old.room_id AND newer.metadata_changed_at IS NOT NULL
              AND newer.metadata_changed_at >= old.metadata_changed_at
              AND (newer.metadata_changed_at, coalesce(newer.restored_at, '-infinity'),
                   coalesce(newer.joined_at, '-infinity'), newer.peer_id)
                  > (old.metadata_changed_at, coalesce(old.restored_at, '-infinity'),
                     coalesce(old.joined_at, '-infinity'), old.peer_id)
              AND greatest(newer.last_observed_at, newer.restored_at) < now() - interval '1 hour'
            ORDER BY newer.metadata_changed_at DESC, newer.restored_at DESC NULLS LAST,
                     newer.joined_at DESC NULLS LAST, newer.peer_id DESC
            LIMIT 2
        ) AS two))
)
DELETE FROM peers
WHERE user_id = $1 AND room_id = $2 AND peer_id = $3 AND version = $4
  AND EXISTS (SELECT FROM unneeded WHERE coalesce(peers.departed_at <= unneeded.latest_at, true))
