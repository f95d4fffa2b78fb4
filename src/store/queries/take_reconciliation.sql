-- Takes the oldest reconciliation that is due. Nobody else takes it while the lease lasts.
-- $1: the lease, in seconds
WITH due AS (
    SELECT id FROM reconciliations WHERE due_at <= now() ORDER BY since LIMIT 1
    FOR UPDATE SKIP LOCKED
)
UPDATE reconciliations AS r
SET due_at = now() + make_interval(secs => $1), attempts = r.attempts + 1, begun_at = coalesce(r.begun_at, now()),
    problem = NULL
FROM due
WHERE r.id = due.id
RETURNING r.id, r.since, r.until, r.begun_at AS "begun_at!", now() AS "taken_at!", r.attempts,
          r.replays AS "replays: Json<HashMap<String, String>>"
