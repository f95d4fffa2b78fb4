-- Notes that 100ms was asked about these peers, and when they left: now, where that would be yet to come. Else a peer that
-- joins again before would count as gone. A peer that somebody else has locked is left to the next check.
-- $1: room id
-- $2, $3: user ids and peer ids
-- $4: when each left; null where it is still there, or nobody knows
WITH checked AS (
    SELECT user_id, peer_id, CASE WHEN departed_at > now() THEN now() ELSE departed_at END AS departed_at
    FROM unnest($2::text[], $3::text[], $4::timestamptz[]) AS q(user_id, peer_id, departed_at)
), locked AS (
    -- The keys are compared as ranges of one entry: so the only plan is to look up each in the index.
    SELECT peers.user_id, peers.peer_id, checked.departed_at,
           coalesce(checked.departed_at >= greatest(peers.connected_since, peers.joined_at), false) AS has_departed
    FROM checked
    JOIN peers ON (peers.user_id, peers.room_id, peers.peer_id) >= (checked.user_id, $1, checked.peer_id)
              AND (peers.user_id, peers.room_id, peers.peer_id) <= (checked.user_id, $1, checked.peer_id)
    FOR UPDATE OF peers SKIP LOCKED
), settled AS (
    UPDATE peers SET
        presence_checked_at = now(),
        departed_at = greatest(peers.departed_at, locked.departed_at),
        ended_with_session = peers.ended_with_session OR locked.has_departed
    FROM locked
    WHERE (peers.user_id, peers.room_id, peers.peer_id) >= (locked.user_id, $1, locked.peer_id)
      AND (peers.user_id, peers.room_id, peers.peer_id) <= (locked.user_id, $1, locked.peer_id)
)
SELECT user_id FROM locked WHERE has_departed
