-- A page of the watches, the latest look first.
-- $1: the scheduled look of the last one of the page before, or null
-- $2: its room id; empty for the first page
-- $3: how many
SELECT room_id, (extract(epoch FROM every) * 1000)::bigint AS "every_millis!", until, requested_by, automatic, started_at,
       next_look_at, looking, extract(epoch FROM now() - next_look_at)::float8 AS "late_seconds!",
       last_look_at, last_outcome, last_peers, last_changes
FROM watches
WHERE (SELECT rejoin_require_primary()) AND ($1::timestamptz IS NULL OR (next_look_at, room_id) > ($1, $2))
  AND (until IS NULL OR until > now())
ORDER BY next_look_at, room_id LIMIT $3
