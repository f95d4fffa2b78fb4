-- As ../queue_fetch_jobs.sql, but that it reads no peers.
-- $1 to $6: as there
-- $7: whether the user has another peer in the room that counts as connected
WITH event AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::boolean[], $7::boolean[])
        AS q(user_id, room_id, peer_id, at, is_join, has_other)
), joined AS (
    SELECT room_id, max(at) AS at, now() + random() * make_interval(secs => $6) AS first_look_at
    FROM event
    WHERE is_join AND $6::float8 IS NOT NULL
      AND NOT EXISTS (SELECT FROM session_ends AS s WHERE s.room_id = event.room_id AND s.ended_at >= event.at)
    GROUP BY room_id
), begun AS (
    INSERT INTO watches (room_id, every, automatic, started_at, next_look_at, due_at)
    SELECT room_id, make_interval(secs => $6), true, at, first_look_at, first_look_at
    FROM joined
    ORDER BY room_id
    ON CONFLICT (room_id) DO NOTHING
    RETURNING room_id
), job AS (
    SELECT user_id, room_id, CASE WHEN is_join THEN '' ELSE peer_id END AS peer_id, max(at) AS at
    FROM event
    WHERE (room_id IN (SELECT room_id FROM begun) OR EXISTS (SELECT FROM watches AS w WHERE w.room_id = event.room_id))
      AND (NOT is_join OR has_other)
    GROUP BY 1, 2, 3
)
INSERT INTO fetch_jobs AS known (user_id, room_id, peer_id, event_at, queued_at, due_at)
SELECT user_id, room_id, peer_id, at, now(), now()
FROM job
ORDER BY user_id, room_id, peer_id
ON CONFLICT (user_id, room_id, peer_id) DO UPDATE
SET event_at = excluded.event_at, queued_at = excluded.queued_at, due_at = excluded.due_at, attempts = 0
WHERE known.event_at < excluded.event_at
