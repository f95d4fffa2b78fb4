-- Puts a restore job back, if its lease was not taken over. It is due at once where a leave came
-- during the attempt.
-- $1, $2, $3: user id, room id and peer id of the new peer
-- $4: the number of attempts, by which the lease is known
-- $5: when it is due
-- $6: whether a leave makes it due earlier
-- $7: the number of leaves that the attempt knew of
-- $8: since when the new peer was not found, or null
-- $9: how often 100ms answered what other peers there are
UPDATE restore_jobs
SET due_at = CASE WHEN $6 AND wakes <> $7 THEN queued_at ELSE $5 END,
    waiting = $6, not_found_since = $8, ghost_checks = $9
WHERE user_id = $1 AND room_id = $2 AND peer_id = $3 AND attempts = $4
