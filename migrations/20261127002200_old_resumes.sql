-- Ends of sessions, the log of restores and claims, and reconciliations do not grow for ever.
SET lock_timeout = '5s';
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

-- Runs with its owner's rights, so that the service can delete nothing of the log that is newer.
-- A claim stays while a peer has the state that was claimed, so that nobody else gets it. Once it goes, all of its time is
-- settled: no report brings the state back.
CREATE FUNCTION rejoin_delete_old_resumes(
    keep interval, after_at timestamptz, after_user_id text, after_id uuid, max_rows integer,
    OUT deleted bigint, OUT last_at timestamptz, OUT last_user_id text, OUT last_id uuid)
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '1s' AS $$
    WITH page AS MATERIALIZED (
        SELECT at, user_id, id, kind, change FROM resumes
        WHERE at >= after_at AND at < now() - greatest(keep, interval '90 days')
          AND (at, user_id, id) > (after_at, after_user_id, after_id)
        ORDER BY at, user_id, id
        LIMIT max_rows
    ), gone AS (
        DELETE FROM resumes USING page
        WHERE resumes.user_id = page.user_id AND resumes.id = page.id
          AND NOT (page.kind = 'claim' AND EXISTS (
              SELECT FROM peers
              WHERE peers.user_id = page.user_id AND page.change IN (peers.change_id, peers.restored_change)))
        RETURNING resumes.kind, resumes.at
    ), settled AS (
        INSERT INTO compactions AS known (name, settled_until)
        SELECT 'peers', max(at) FROM gone WHERE kind = 'claim' HAVING count(*) > 0
        ON CONFLICT (name) DO UPDATE SET settled_until = greatest(known.settled_until, excluded.settled_until)
    )
    SELECT (SELECT count(*) FROM gone), last.at, last.user_id, last.id
    FROM (SELECT) AS always
    LEFT JOIN LATERAL (SELECT * FROM page ORDER BY at DESC, user_id DESC, id DESC LIMIT 1) AS last ON true
$$;
REVOKE EXECUTE ON FUNCTION rejoin_delete_old_resumes(interval, timestamptz, text, uuid, integer) FROM PUBLIC;
COMMENT ON FUNCTION rejoin_delete_old_resumes(interval, timestamptz, text, uuid, integer) IS
    'Looks at so many rows of resumes after the given one that are older than `keep` and 90 days, deletes those that no rule needs, and returns how many went and which was the last.';

COMMENT ON TABLE resumes IS 'Restores of saved states to peers, and claims of states, of the last 90 days or REJOIN_KEEP_PEERS at least. A claim stays while a peer has its state.';
COMMENT ON TABLE session_ends IS 'The ends of sessions and rooms that webhooks told of. A row goes once it is older than REJOIN_KEEP_PEERS and no peer is left that it ended.';
COMMENT ON TABLE reconciliations IS 'Times in which no replica could write, so that webhooks may have been lost, and times that somebody asked for. 100ms replays what failed then, and all active rooms are looked at. A finished one goes after a year.';
COMMENT ON COLUMN compactions.settled_until IS 'What is reported of this time or before is passed on and stored nowhere: half a day after the latest time that a deleted row of peers or of session_ends had, or the time of a deleted claim.';
