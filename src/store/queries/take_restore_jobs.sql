-- Takes restore jobs that are due. Nobody else takes them while the lease lasts.
-- $1: now
-- $2: when the lease ends
-- $3: how many jobs to take at most
WITH due AS (
    SELECT user_id, room_id, peer_id FROM restore_jobs
    WHERE due_at <= $1 ORDER BY due_at LIMIT $3
    FOR UPDATE SKIP LOCKED
)
UPDATE restore_jobs AS job SET due_at = $2, attempts = job.attempts + 1, waiting = false
FROM due
WHERE job.user_id = due.user_id AND job.room_id = due.room_id AND job.peer_id = due.peer_id
RETURNING job.user_id, job.room_id, job.peer_id, job.queued_at, job.attempts, job.wakes,
          job.not_found_since, job.ghost_checks
