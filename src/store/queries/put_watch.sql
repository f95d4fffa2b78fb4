-- Begins a watch that somebody asks for, or changes the one that there is.
-- $1: room id
-- $2: every, in seconds
-- $3: until, or null
-- $4: the name of the API key, or null
INSERT INTO watches AS known (room_id, every, until, requested_by, automatic, started_at, next_look_at, due_at)
VALUES ($1, make_interval(secs => $2), $3, $4, false, now(), now(), now())
ON CONFLICT (room_id) DO UPDATE SET
    every = excluded.every, until = excluded.until, requested_by = excluded.requested_by, automatic = false,
    inactive_looks = 0, inactive_at = NULL,
    next_look_at = least(known.next_look_at, now() + excluded.every),
    -- Whoever looks at the room keeps it.
    due_at = CASE WHEN known.looking THEN known.due_at ELSE least(known.next_look_at, now() + excluded.every, excluded.until) END
RETURNING xmax = 0 AS "created!", room_id, (extract(epoch FROM every) * 1000)::bigint AS "every_millis!", until,
          requested_by, automatic, started_at, next_look_at, looking,
          extract(epoch FROM now() - next_look_at)::float8 AS "late_seconds!",
          last_look_at, last_outcome, last_peers, last_changes
