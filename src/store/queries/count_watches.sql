-- How many watches there are by state, and by how many seconds the latest look is late.
SELECT count(*) FILTER (WHERE looking AND due_at > now()) AS "looking!",
       count(*) FILTER (WHERE NOT (looking AND due_at > now()) AND next_look_at + every < now()) AS "late!",
       count(*) FILTER (WHERE NOT (looking AND due_at > now()) AND next_look_at + every >= now()) AS "waiting!",
       greatest(0, max(extract(epoch FROM now() - next_look_at)))::float8 AS "late_seconds?",
       (SELECT count(*) FROM fetch_jobs WHERE due_at IS NOT NULL) AS "fetch_jobs!"
FROM watches
WHERE (SELECT rejoin_require_primary())
