-- Notes that 100ms was asked about this peer, and when it left.
-- $1, $2, $3: user id, room id and peer id
-- $4: when it left; null where it is still there, or nobody knows
UPDATE peers SET
    presence_checked_at = now(),
    departed_at = greatest(departed_at, $4),
    ended_with_session = ended_with_session OR coalesce($4 >= greatest(connected_since, joined_at), false)
WHERE user_id = $1 AND room_id = $2 AND peer_id = $3
RETURNING coalesce($4 >= greatest(connected_since, joined_at), false) AS "has_departed!"
