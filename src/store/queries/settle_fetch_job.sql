-- Ends an attempt at a fetch job, unless a newer event has queued it again meanwhile.
-- $1 to $3: user id, room id and peer id
-- $4: the time of its event
-- $5: which attempt
-- $6: ok, or the problem code
-- $7: after how many seconds to try again; null where it is done
UPDATE fetch_jobs
SET due_at = now() + make_interval(secs => $7), outcome = $6, fetched_at = CASE WHEN $7 IS NULL THEN now() ELSE fetched_at END
WHERE user_id = $1 AND room_id = $2 AND peer_id = $3 AND event_at = $4 AND attempts = $5
