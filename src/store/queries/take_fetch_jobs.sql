-- Takes fetch jobs that are due. Nobody else takes them while the lease lasts. Forgets what was fetched an hour ago.
-- $1: how many at most
-- $2: the lease, in seconds
WITH old AS (
    SELECT user_id, room_id, peer_id FROM fetch_jobs
    WHERE due_at IS NULL AND fetched_at < now() - interval '1 hour' LIMIT 100
    FOR UPDATE SKIP LOCKED
), forgotten AS (
    DELETE FROM fetch_jobs USING old
    WHERE fetch_jobs.user_id = old.user_id AND fetch_jobs.room_id = old.room_id AND fetch_jobs.peer_id = old.peer_id
), due AS (
    SELECT user_id, room_id, peer_id FROM fetch_jobs
    WHERE due_at <= now() ORDER BY due_at LIMIT $1
    FOR UPDATE SKIP LOCKED
)
UPDATE fetch_jobs AS job SET due_at = now() + make_interval(secs => $2), attempts = job.attempts + 1
FROM due
WHERE job.user_id = due.user_id AND job.room_id = due.room_id AND job.peer_id = due.peer_id
RETURNING job.user_id, job.room_id, job.peer_id, job.event_at, job.attempts,
          extract(epoch FROM now() - job.queued_at)::float8 AS "age_seconds!"
