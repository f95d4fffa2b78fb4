-- A page of the watches, by room.
-- $1: the room id of the last one of the page before; empty for the first page
-- $2: how many
SELECT room_id, (extract(epoch FROM every) * 1000)::bigint AS "every_millis!", until, requested_by, automatic, started_at,
       next_look_at, looking, extract(epoch FROM now() - next_look_at)::float8 AS "late_seconds!",
       last_look_at, last_outcome, last_peers, last_changes
FROM watches
WHERE (SELECT rejoin_require_primary()) AND room_id > $1 AND (until IS NULL OR until > now())
ORDER BY room_id LIMIT $2
