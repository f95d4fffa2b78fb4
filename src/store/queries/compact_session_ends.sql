-- Deletes ends of sessions that are old and that ended no peer that is left.
--
-- An end stays while a peer that a webhook said to be connected counts as ended by it, or may: as peer_presence has it.
-- What is dated until half a day after it is settled with that: no late join is left without its end.
-- $1: how old it has to be, in seconds
-- $2, $3: those after this one: room id, session id
-- $4: how many ends are looked at
-- room_id, session_id: the last one that was looked at; null where there was none
WITH page AS MATERIALIZED (
    SELECT room_id, session_id, ended_at, next_check_at FROM session_ends
    WHERE (room_id, session_id) > ($2, $3)
    ORDER BY room_id, session_id
    LIMIT $4
), deleted AS (
    DELETE FROM session_ends AS s USING page
    WHERE s.room_id = page.room_id AND s.session_id = page.session_id AND s.ended_at = page.ended_at
      AND page.next_check_at IS NULL AND page.ended_at < now() - make_interval(secs => $1)
      AND NOT EXISTS (
          SELECT FROM peers
          WHERE peers.ended_with_session AND peers.ended_at IS NULL AND peers.room_id = page.room_id
            AND peers.connected_since < page.ended_at + interval '1 second'
            AND (peers.session_id IS NULL OR page.session_id IN (peers.session_id, '')))
      AND NOT EXISTS (
          SELECT FROM peers
          WHERE peers.connected_since IS NOT NULL AND peers.ended_at IS NULL AND NOT peers.ended_with_session
            AND peers.room_id = page.room_id AND peers.connected_since < page.ended_at + interval '1 second'
            AND (peers.session_id IS NULL OR page.session_id IN (peers.session_id, '')))
    RETURNING s.ended_at
), settled AS (
    INSERT INTO compactions AS known (name, settled_until)
    SELECT 'peers', max(ended_at) + interval '12 hours' FROM deleted HAVING count(*) > 0
    ON CONFLICT (name) DO UPDATE SET settled_until = greatest(known.settled_until, excluded.settled_until)
)
SELECT (SELECT count(*) FROM deleted) AS "deleted!", last.room_id AS "room_id?", last.session_id AS "session_id?"
FROM (SELECT) AS always
LEFT JOIN LATERAL (SELECT * FROM page ORDER BY room_id DESC, session_id DESC LIMIT 1) AS last ON true
