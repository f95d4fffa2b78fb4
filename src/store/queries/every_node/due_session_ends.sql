-- The ends of sessions whose peers are to be marked.
-- $1: how many at most
-- next_check_at: when to check them again; null where that is not needed
SELECT room_id, session_id, ended_at,
       CASE WHEN ended_at > now() - interval '1 minute' THEN now() + interval '1 minute' END AS next_check_at
FROM session_ends
WHERE (SELECT rejoin_require_primary()) AND next_check_at <= now()
ORDER BY next_check_at LIMIT $1
