-- Makes the restore jobs due that wait for an event of these users. One that is being attempted is
-- due again after the attempt. Locks rows in order, so that concurrent batches do not deadlock.
-- $1: user ids
WITH woken AS (
    SELECT user_id, room_id, peer_id FROM restore_jobs
    WHERE user_id = ANY ($1::text[])
    ORDER BY user_id, room_id, peer_id
    FOR UPDATE
)
UPDATE restore_jobs AS job
SET wakes = job.wakes + 1,
    due_at = CASE WHEN job.waiting THEN least(job.due_at, job.queued_at) ELSE job.due_at END
FROM woken
WHERE job.user_id = woken.user_id AND job.room_id = woken.room_id AND job.peer_id = woken.peer_id
