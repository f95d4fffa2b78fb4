-- Marks peers that ended with their session, so that they need not be read to know who is connected.
-- A peer that somebody else has locked is left to the next check.
--
-- An end is checked when it is reported, and once more when it is a minute old, for joins that were
-- reported after it. Later ones are left out when they are read, and so are peers that joined within
-- the second of an end that knows whole seconds: a later end of that session may not cover these.
-- $1: how many peers at most
-- $2: how many ends of sessions at most
WITH due AS (
    SELECT room_id, session_id, ended_at FROM session_ends
    WHERE next_check_at <= now()
    ORDER BY next_check_at LIMIT $2
    FOR UPDATE SKIP LOCKED
), dead AS (
    SELECT peers.user_id, peers.room_id, peers.peer_id
    FROM due
    CROSS JOIN LATERAL (
        SELECT * FROM peers
        WHERE peers.room_id = due.room_id AND peers.connected_since IS NOT NULL AND peers.ended_at IS NULL
          AND NOT peers.ended_with_session
          AND due.ended_at >= greatest(peers.connected_since, peers.joined_at)
          AND (peers.session_id IS NULL OR due.session_id IN (peers.session_id, ''))
        FOR UPDATE SKIP LOCKED
    ) AS peers
    LIMIT $1
), ended AS (
    -- The keys are compared as ranges of one entry: so the only plan is to look up each in the index.
    UPDATE peers SET ended_with_session = true
    FROM (SELECT DISTINCT user_id, room_id, peer_id FROM dead) AS d
    WHERE (peers.user_id, peers.room_id, peers.peer_id) >= (d.user_id, d.room_id, d.peer_id)
      AND (peers.user_id, peers.room_id, peers.peer_id) <= (d.user_id, d.room_id, d.peer_id)
), checked AS (
    UPDATE session_ends AS s
    SET next_check_at = CASE WHEN s.ended_at > now() - interval '1 minute' THEN now() + interval '1 minute' END
    FROM due
    WHERE s.room_id = due.room_id AND s.session_id = due.session_id
      -- Else there may be more of them.
      AND (SELECT count(*) FROM dead) < $1
)
SELECT (SELECT count(*) FROM dead) AS "peers!", (SELECT count(*) FROM due) AS "session_ends!"
