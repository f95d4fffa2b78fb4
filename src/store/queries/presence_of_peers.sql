-- The presence of each of these peers, and when its session ended, if it did after the peer joined.
-- The end of a room knows whole seconds only.
-- $1, $2, $3: user ids, room ids and peer ids, one entry for each peer
-- ord: the position of the entry, from 1
SELECT q.ord AS "ord!", known.connected_since, known.ended_at, known.end_kind, known.end_reason,
       session_end.ended_at AS "session_ended_at?"
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS q(user_id, room_id, peer_id, ord)
CROSS JOIN LATERAL (
    SELECT *, coalesce(greatest(connected_since, joined_at), first_observed_at) AS joined FROM peers
    WHERE peers.user_id = q.user_id AND peers.room_id = q.room_id AND peers.peer_id = q.peer_id
    LIMIT 1
) AS known
LEFT JOIN LATERAL (
    SELECT s.ended_at FROM session_ends s
    WHERE s.room_id = known.room_id
      AND s.ended_at > known.joined - interval '1 second'
      AND (s.ended_at >= known.joined OR s.ended_at = date_trunc('second', s.ended_at))
      AND (known.session_id IS NULL OR s.session_id IN (known.session_id, ''))
    ORDER BY s.ended_at LIMIT 1
) AS session_end ON true
