-- Deletes a restore job, unless its lease was taken over.
-- $1, $2, $3: user id, room id and peer id of the new peer
-- $4: the number of attempts. A job whose lease was taken over has had more
DELETE FROM restore_jobs WHERE user_id = $1 AND room_id = $2 AND peer_id = $3 AND attempts = $4
