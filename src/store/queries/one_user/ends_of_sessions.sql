-- When the sessions of peers ended, of those that did after the peers joined. The end of a room knows whole seconds only.
-- $1, $2: room ids, and session ids or nulls
-- $3: when each peer joined
-- ord: the position of the entry, from 1
SELECT q.ord AS "ord!", min(s.ended_at) AS "ended_at!"
FROM unnest($1::text[], $2::text[], $3::timestamptz[]) WITH ORDINALITY AS q(room_id, session_id, joined_at, ord)
JOIN session_ends AS s
  ON s.room_id = q.room_id
 AND s.ended_at > q.joined_at - interval '1 second'
 AND (s.ended_at >= q.joined_at OR s.ended_at = date_trunc('second', s.ended_at))
 AND (q.session_id IS NULL OR s.session_id IN (q.session_id, ''))
WHERE (SELECT rejoin_require_primary())
GROUP BY q.ord
