-- Of each of these users in a room, the peer whose metadata changed last, with its presence and the connected peers of the user.
-- $1: user ids
-- $2: for each, a peer to leave out, or null
-- $3: for each, a room id
-- ord: the position of the entry, from 1
-- session_ended_at: when the session of the peer ended, if it did after the peer joined. The end of a
-- room knows whole seconds only.
-- departed_at: when the peer left, if its session at 100ms says so.
-- live: at most 100 connected peers, those that joined last first. Those that ended with their session
-- are marked soon, and until then left out here.
SELECT q.ord AS "ord!", newest.user_id, newest.room_id, newest.peer_id, newest.snapshot_id,
       newest.metadata_raw, newest.metadata_changed_at AS "changed_at!", newest.change_id, newest.name, newest.role,
       newest.joined_at, newest.last_observed_at,
       newest.connected_since, newest.ended_at, newest.end_kind, newest.end_reason,
       CASE WHEN newest.departed_at >= coalesce(greatest(newest.connected_since, newest.joined_at), newest.first_observed_at)
            THEN newest.departed_at END AS departed_at,
       (
           SELECT s.ended_at FROM session_ends s
           WHERE newest.ended_at IS NULL AND s.room_id = newest.room_id
             AND s.ended_at > coalesce(greatest(newest.connected_since, newest.joined_at), newest.first_observed_at)
                              - interval '1 second'
             AND (s.ended_at >= coalesce(greatest(newest.connected_since, newest.joined_at), newest.first_observed_at)
                  OR s.ended_at = date_trunc('second', s.ended_at))
             AND (newest.session_id IS NULL OR s.session_id IN (newest.session_id, ''))
           ORDER BY s.ended_at LIMIT 1
       ) AS session_ended_at,
       ARRAY(
           SELECT (live.room_id, live.peer_id, live.joined_at) FROM peers AS live
           WHERE live.user_id = q.user_id AND live.connected_since IS NOT NULL AND live.ended_at IS NULL
             AND NOT live.ended_with_session
             AND (live.departed_at IS NULL OR live.departed_at < greatest(live.connected_since, live.joined_at))
             AND NOT EXISTS (
                 SELECT FROM session_ends s
                 WHERE s.room_id = live.room_id
                   AND s.ended_at > greatest(live.connected_since, live.joined_at) - interval '1 second'
                   AND (s.ended_at >= greatest(live.connected_since, live.joined_at)
                        OR s.ended_at = date_trunc('second', s.ended_at))
                   AND (live.session_id IS NULL OR s.session_id IN (live.session_id, '')))
           ORDER BY live.connected_since DESC, live.peer_id DESC
           LIMIT 100
       ) AS "live?: Vec<LivePeer>"
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS q(user_id, excluded, room_id, ord)
CROSS JOIN LATERAL (
    SELECT * FROM peers
    WHERE metadata_changed_at IS NOT NULL AND (q.excluded IS NULL OR peer_id <> q.excluded)
      AND user_id = q.user_id AND room_id = q.room_id
    ORDER BY metadata_changed_at DESC, restored_at DESC NULLS LAST, joined_at DESC NULLS LAST, peer_id DESC,
             room_id DESC
    LIMIT 1
) AS newest
WHERE (SELECT rejoin_require_primary())
