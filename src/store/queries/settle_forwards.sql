-- Ends attempts: what was accepted is deleted, and what was not waits for its next attempt or is dead. An attempt that
-- lost its lease ends nothing.
--
-- One entry for each attempt:
-- $1: ids
-- $2: which attempts they are
-- $3: how they failed; null where the event was accepted
-- $4: the pauses until the next ones, in seconds; null where there is none
-- Of all:
-- $5: for how long an event may fail, in seconds
-- $6: for how long the first event of a room fails before others go first, in seconds, if the endpoint accepts those
-- $7: the same where it accepts none
-- $8: for how long the endpoint accepted none where it is back now, in seconds. Then what failed before is due soon.
--
-- Returns the events that are dead now.
WITH attempt AS (
    SELECT * FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::float8[]) AS q(id, attempts, error, pause)
), accepted AS (
    UPDATE forward_endpoint SET accepted_at = now()
    WHERE accepted_at < now() - interval '5 seconds' AND EXISTS (SELECT FROM attempt WHERE error IS NULL)
), woken AS (
    SELECT id FROM forwards
    WHERE state = 'waiting' AND failing_since IS NOT NULL AND NOT sending AND due_at > now() + interval '10 seconds'
      AND id NOT IN (SELECT id FROM attempt)
      AND EXISTS (SELECT FROM attempt WHERE error IS NULL)
      AND EXISTS (SELECT FROM forward_endpoint WHERE accepted_at < now() - make_interval(secs => $8))
    -- As many as take a fraction of the time that a statement may take. The others keep their own times, an hour at most.
    LIMIT 10000
    FOR UPDATE SKIP LOCKED
), due AS (
    UPDATE forwards SET due_at = now() + random() * interval '10 seconds' FROM woken WHERE forwards.id = woken.id
), deleted AS (
    DELETE FROM forwards USING attempt
    WHERE forwards.id = attempt.id AND forwards.attempts = attempt.attempts AND error IS NULL
), failed AS (
    SELECT forwards.id, error, pause,
        coalesce(failing_since, now()) AS since,
        pause IS NULL OR now() + make_interval(secs => pause) > coalesce(failing_since, now()) + make_interval(secs => $5) AS is_dead
    FROM forwards JOIN attempt ON forwards.id = attempt.id AND forwards.attempts = attempt.attempts
    WHERE error IS NOT NULL
    ORDER BY forwards.id
    FOR UPDATE OF forwards
), settled AS (
    UPDATE forwards SET
        sending = false,
        failing_since = since,
        last_error = error,
        due_at = now() + make_interval(secs => coalesce(pause, 0)),
        state = CASE WHEN is_dead THEN 'dead' ELSE 'waiting' END,
        dead_at = CASE WHEN is_dead THEN now() END,
        aside = aside OR since < now() - make_interval(secs => $7) OR (
            since < now() - make_interval(secs => $6)
            AND EXISTS (SELECT FROM forward_endpoint WHERE accepted_at > since))
    FROM failed
    WHERE forwards.id = failed.id
    RETURNING forwards.id, is_dead
)
SELECT id AS "id!" FROM settled WHERE is_dead
