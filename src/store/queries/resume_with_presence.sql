-- Of each of these users, the peer whose metadata changed last, with its presence and the connected peers of the user.
-- $1: user ids
-- $2: for each, a peer to leave out, or null
-- ord: the position of the entry, from 1
SELECT q.ord AS "ord!", newest.user_id, newest.room_id, newest.peer_id, newest.snapshot_id,
       newest.metadata_raw, newest.metadata_changed_at AS "changed_at!", newest.change_id, newest.name, newest.role,
       newest.joined_at, newest.last_observed_at,
       newest.connected_since, newest.ended_at, newest.end_kind, newest.end_reason,
       session_end.ended_at AS "session_ended_at?",
       live.room_ids AS "live_room_ids?", live.peer_ids AS "live_peer_ids?",
       live.joined_at AS "live_joined_at?: Vec<Option<DateTime<Utc>>>"
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS q(user_id, excluded, ord)
CROSS JOIN LATERAL (
    SELECT * FROM peers
    WHERE metadata_changed_at IS NOT NULL AND (q.excluded IS NULL OR peer_id <> q.excluded)
      AND user_id = q.user_id
    ORDER BY metadata_changed_at DESC, restored_at DESC NULLS LAST, joined_at DESC NULLS LAST, peer_id DESC,
             room_id DESC
    LIMIT 1
) AS newest
-- When the session of the peer ended, if it did after the peer joined. The end of a room knows whole
-- seconds only.
LEFT JOIN LATERAL (
    SELECT s.ended_at
    FROM (SELECT coalesce(greatest(newest.connected_since, newest.joined_at), newest.first_observed_at) AS at) AS joined,
         session_ends s
    WHERE newest.ended_at IS NULL AND s.room_id = newest.room_id
      AND s.ended_at > joined.at - interval '1 second'
      AND (s.ended_at >= joined.at OR s.ended_at = date_trunc('second', s.ended_at))
      AND (newest.session_id IS NULL OR s.session_id IN (newest.session_id, ''))
    ORDER BY s.ended_at LIMIT 1
) AS session_end ON true
-- At most 100, those that joined last first. Those that ended with their session are marked soon, and
-- until then left out here.
CROSS JOIN LATERAL (
    SELECT array_agg(connected.room_id) AS room_ids, array_agg(connected.peer_id) AS peer_ids,
           array_agg(connected.joined_at) AS joined_at
    FROM (
        SELECT peers.room_id, peers.peer_id, peers.joined_at FROM peers
        WHERE peers.user_id = q.user_id AND peers.connected_since IS NOT NULL AND peers.ended_at IS NULL
          AND NOT peers.ended_with_session
          AND NOT EXISTS (
              SELECT FROM session_ends s
              WHERE s.room_id = peers.room_id
                AND s.ended_at > greatest(peers.connected_since, peers.joined_at) - interval '1 second'
                AND (s.ended_at >= greatest(peers.connected_since, peers.joined_at)
                     OR s.ended_at = date_trunc('second', s.ended_at))
                AND (peers.session_id IS NULL OR s.session_id IN (peers.session_id, '')))
        ORDER BY peers.connected_since DESC, peers.peer_id DESC
        LIMIT 100
    ) AS connected
) AS live
