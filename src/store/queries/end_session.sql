-- Saves the end of a session, makes the restore jobs due that wait in its room, whose peers may have ended with it, and
-- ends the watch that began with it. Of several ends of one session, the latest counts.
-- $1: room id
-- $2: session id; empty for whichever session the room had
-- $3: when it ended
WITH woken AS (
    SELECT user_id, room_id, peer_id FROM restore_jobs
    WHERE room_id = $1
    ORDER BY user_id, room_id, peer_id
    FOR UPDATE
), due AS (
    UPDATE restore_jobs AS job
    SET wakes = job.wakes + 1,
        due_at = CASE WHEN job.waiting THEN least(job.due_at, job.queued_at) ELSE job.due_at END
    FROM woken
    WHERE job.user_id = woken.user_id AND job.room_id = woken.room_id AND job.peer_id = woken.peer_id
), unwatched AS (
    DELETE FROM watches WHERE room_id = $1 AND automatic AND started_at <= $3
)
INSERT INTO session_ends AS known (room_id, session_id, ended_at, next_check_at) VALUES ($1, $2, $3, now())
ON CONFLICT (room_id, session_id) DO UPDATE SET ended_at = excluded.ended_at, next_check_at = excluded.next_check_at
WHERE known.ended_at < excluded.ended_at
