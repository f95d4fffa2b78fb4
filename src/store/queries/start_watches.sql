-- Begins the watches of active rooms that have none. Their first looks are spread over the interval.
-- $1: room ids
-- $2: every, in seconds
-- $3: when these rooms were active
INSERT INTO watches (room_id, every, automatic, started_at, next_look_at, due_at)
SELECT q.room_id, make_interval(secs => $2), true, $3, q.first_look_at, q.first_look_at
FROM (
    SELECT room_id, now() + random() * make_interval(secs => $2) AS first_look_at
    FROM (SELECT DISTINCT unnest($1::text[]) AS room_id) AS u
) AS q
-- A session that has ended meanwhile.
WHERE NOT EXISTS (SELECT FROM session_ends AS s WHERE s.room_id = q.room_id AND s.ended_at >= $3)
ORDER BY q.room_id
ON CONFLICT (room_id) DO NOTHING
