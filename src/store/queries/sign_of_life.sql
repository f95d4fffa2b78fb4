-- The sign of life of a replica. If nobody gave one for longer than 100ms tries to deliver a webhook, what was lost in that
-- time is to be reconciled, once: all replicas see the same last sign. So is what was lost in two shorter gaps, if all
-- attempts at a webhook can lie in them; the minute that is replayed before a gap has the first of them in it.
-- $1: the replica
-- $2: the id of a reconciliation
-- $3: how long 100ms tries, in seconds
-- $4: after how many seconds to reconcile: then it has given up what it still tries now
-- $5: the shortest gap, in seconds
WITH last AS (
    SELECT max(alive_at) AS at, max(alive_at) < now() - make_interval(secs => $5) AS is_before_gap,
           max(gap_at) > max(alive_at) - make_interval(secs => $3) AS is_after_gap
    FROM replicas
), gap AS (
    INSERT INTO reconciliations (id, since, until, due_at)
    SELECT $2, last.at, now(), now() + make_interval(secs => $4) FROM last
    WHERE last.at < now() - make_interval(secs => $3) OR last.is_before_gap AND last.is_after_gap
    ON CONFLICT (since) WHERE NOT manual DO NOTHING
    RETURNING id
), old AS (
    DELETE FROM replicas USING last WHERE alive_at < last.at AND alive_at < now() - interval '1 hour' AND id <> $1
), alive AS (
    INSERT INTO replicas AS replica (id, started_at, alive_at, gap_at)
    SELECT $1, now(), now(), CASE WHEN is_before_gap THEN now() END FROM last
    ON CONFLICT (id) DO UPDATE SET alive_at = excluded.alive_at, gap_at = coalesce(excluded.gap_at, replica.gap_at)
)
SELECT EXISTS (SELECT FROM gap) AS "gap!"
