-- Deletes rows of peers that no answer needs any more. History stays. A row that somebody else has locked is left alone.
--
-- A row goes if its peer has ended, nothing is known of it that is newer than the given age, no job of its user waits, and
-- it has no state or there are two newer ones of the user in its room: of these, a resume returns one, whatever its filters.
-- Those two count only where they have not been written for an hour: what is restored just now may still be taken back.
--
-- What is dated until half a day after the latest of the deleted rows is settled with that: nobody stores it any more.
-- $1: the age, in seconds
-- $2 to $5: those after this one: when it ended, user id, room id, peer id
-- $6: how many peers are looked at
-- at, user_id, room_id, peer_id: the last one that was looked at; null where there was none
-- Each part is materialized, so that no plan asks any of this of peers that are not looked at.
WITH page AS MATERIALIZED (
    SELECT coalesce(ended_at, departed_at, connected_since) AS at, user_id, room_id, peer_id, version, session_id,
           connected_since, joined_at, ended_at, departed_at, first_observed_at, last_observed_at, metadata_changed_at,
           change_observed_at, restored_at, restored_answered_at
    FROM peers
    WHERE (ended_at IS NOT NULL OR ended_with_session)
      AND coalesce(ended_at, departed_at, connected_since) >= $2
      AND coalesce(ended_at, departed_at, connected_since) < now() - make_interval(secs => $1)
      AND (coalesce(ended_at, departed_at, connected_since), user_id, room_id, peer_id) > ($2, $3, $4, $5)
    ORDER BY coalesce(ended_at, departed_at, connected_since), user_id, room_id, peer_id
    LIMIT $6
), ended AS MATERIALIZED (
    SELECT page.*, coalesce(page.ended_at, departed.at, session_end.at) IS NOT NULL AS has_ended,
           greatest(page.last_observed_at, page.connected_since, page.joined_at, page.ended_at, page.departed_at,
                    page.restored_at, page.restored_answered_at, page.change_observed_at, page.metadata_changed_at,
                    session_end.at) AS latest_at
    FROM page
    CROSS JOIN LATERAL (
        SELECT coalesce(greatest(page.connected_since, page.joined_at), page.first_observed_at) AS at
    ) AS joined
    CROSS JOIN LATERAL (
        SELECT CASE WHEN page.departed_at >= joined.at THEN page.departed_at END AS at
    ) AS departed
    -- As peer_presence has it.
    LEFT JOIN LATERAL (
        SELECT s.ended_at AS at FROM session_ends s
        WHERE page.ended_at IS NULL AND s.room_id = page.room_id
          AND s.ended_at > joined.at - interval '1 second'
          AND (s.ended_at >= joined.at OR s.ended_at = date_trunc('second', s.ended_at))
          AND (page.session_id IS NULL OR s.session_id IN (page.session_id, ''))
        ORDER BY s.ended_at LIMIT 1
    ) AS session_end ON true
), old AS MATERIALIZED (
    SELECT * FROM ended
    WHERE has_ended AND latest_at < now() - make_interval(secs => $1)
      AND NOT EXISTS (SELECT FROM restore_jobs WHERE restore_jobs.user_id = ended.user_id)
      AND NOT EXISTS (SELECT FROM fetch_jobs WHERE fetch_jobs.user_id = ended.user_id AND fetch_jobs.due_at IS NOT NULL)
), unneeded AS MATERIALIZED (
    SELECT * FROM old
    WHERE metadata_changed_at IS NULL OR 2 = (
        SELECT count(*) FROM (
            SELECT FROM peers newer
            WHERE newer.user_id = old.user_id AND newer.room_id = old.room_id AND newer.metadata_changed_at IS NOT NULL
              AND newer.metadata_changed_at >= old.metadata_changed_at
              AND (newer.metadata_changed_at, coalesce(newer.restored_at, '-infinity'),
                   coalesce(newer.joined_at, '-infinity'), newer.peer_id)
                  > (old.metadata_changed_at, coalesce(old.restored_at, '-infinity'),
                     coalesce(old.joined_at, '-infinity'), old.peer_id)
              AND greatest(newer.last_observed_at, newer.restored_at) < now() - interval '1 hour'
            ORDER BY newer.metadata_changed_at DESC, newer.restored_at DESC NULLS LAST,
                     newer.joined_at DESC NULLS LAST, newer.peer_id DESC
            LIMIT 2
        ) AS two)
), locked AS MATERIALIZED (
    -- The keys are compared as ranges of one entry: so the only plan is to look up each in the index. What somebody else
    -- has changed meanwhile is left alone too.
    SELECT peers.user_id, peers.room_id, peers.peer_id, unneeded.latest_at
    FROM unneeded
    JOIN peers ON (peers.user_id, peers.room_id, peers.peer_id) >= (unneeded.user_id, unneeded.room_id, unneeded.peer_id)
              AND (peers.user_id, peers.room_id, peers.peer_id) <= (unneeded.user_id, unneeded.room_id, unneeded.peer_id)
              AND peers.version BETWEEN unneeded.version AND unneeded.version
              AND coalesce(peers.departed_at <= unneeded.latest_at, true)
    FOR UPDATE OF peers SKIP LOCKED
), deleted AS (
    DELETE FROM peers USING locked
    WHERE (peers.user_id, peers.room_id, peers.peer_id) >= (locked.user_id, locked.room_id, locked.peer_id)
      AND (peers.user_id, peers.room_id, peers.peer_id) <= (locked.user_id, locked.room_id, locked.peer_id)
    RETURNING locked.latest_at
), settled AS (
    INSERT INTO compactions AS known (name, settled_until)
    SELECT 'peers', max(latest_at) + interval '12 hours' FROM deleted HAVING count(*) > 0
    ON CONFLICT (name) DO UPDATE SET settled_until = greatest(known.settled_until, excluded.settled_until)
)
SELECT (SELECT count(*) FROM deleted) AS "deleted!", last.at AS "at?", last.user_id AS "user_id?",
       last.room_id AS "room_id?", last.peer_id AS "peer_id?"
FROM (SELECT) AS always
LEFT JOIN LATERAL (
    SELECT * FROM page ORDER BY at DESC, user_id DESC, room_id DESC, peer_id DESC LIMIT 1
) AS last ON true
