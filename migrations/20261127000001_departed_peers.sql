-- Peers whose leave no webhook reported: 100ms's session says when they left.
-- The new columns have no default, so that this takes no time and the previous binary goes on.
SET lock_timeout = '5s';

ALTER TABLE peers ADD COLUMN departed_at timestamptz, ADD COLUMN presence_checked_at timestamptz;
COMMENT ON COLUMN peers.departed_at IS 'When the peer left as its session at 100ms says it, where no webhook reported that; the latest such time. Only a later join undoes it.';
COMMENT ON COLUMN peers.presence_checked_at IS 'When 100ms was last asked whether the peer, which counted as connected and was not seen, is still in its session.';
COMMENT ON COLUMN peers.ended_with_session IS 'Whether an end in session_ends, or departed_at, is known to have ended the peer. Set in the background, and unset where the join or the session of the peer turns out to be another.';

ALTER TABLE reconciliations ADD COLUMN corrected bigint;
COMMENT ON COLUMN reconciliations.corrected IS 'How many peers counted as connected and had left.';

-- A peer that departed ended then; its own end, which a webhook reported, says better.
CREATE OR REPLACE VIEW peer_presence AS
SELECT peers.user_id, peers.room_id, peers.peer_id, peers.name, peers.role, peers.joined_at, peers.last_observed_at,
       CASE WHEN peers.ended_at IS NOT NULL THEN peers.end_kind
            WHEN departed.at IS NOT NULL OR session_end.ended_at IS NOT NULL THEN 'ended'
            WHEN peers.connected_since IS NOT NULL THEN 'connected'
            ELSE 'unknown' END AS status,
       CASE WHEN peers.ended_at IS NOT NULL THEN peers.end_reason
            WHEN departed.at IS NOT NULL THEN 'reconciled' END AS reason,
       coalesce(peers.ended_at, departed.at, session_end.ended_at, peers.connected_since) AS since
FROM peers
CROSS JOIN LATERAL (
    SELECT coalesce(greatest(peers.connected_since, peers.joined_at), peers.first_observed_at) AS at
) AS joined
CROSS JOIN LATERAL (
    SELECT CASE WHEN peers.departed_at >= joined.at THEN peers.departed_at END AS at
) AS departed
LEFT JOIN LATERAL (
    SELECT s.ended_at FROM session_ends s
    WHERE s.room_id = peers.room_id
      AND s.ended_at > joined.at - interval '1 second'
      AND (s.ended_at >= joined.at OR s.ended_at = date_trunc('second', s.ended_at))
      AND (peers.session_id IS NULL OR s.session_id IN (peers.session_id, ''))
    ORDER BY s.ended_at LIMIT 1
) AS session_end ON true;
