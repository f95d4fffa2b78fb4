-- The connected peers of each of these users, at most 100, those that joined last first.
-- $1: user ids
-- ord: the position of the user, from 1
SELECT q.ord AS "ord!", connected.room_id, connected.peer_id, connected.joined_at
FROM unnest($1::text[]) WITH ORDINALITY AS q(user_id, ord)
CROSS JOIN LATERAL (
    SELECT peers.room_id, peers.peer_id, peers.joined_at FROM peers
    WHERE peers.user_id = q.user_id AND peers.connected_since IS NOT NULL AND peers.ended_at IS NULL
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
