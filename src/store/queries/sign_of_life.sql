-- The sign of life of a replica. If nobody gave one for longer than 100ms tries to deliver a webhook, what was lost in that
-- time is to be reconciled, once: all replicas see the same last sign.
-- $1: the replica
-- $2: the id of a reconciliation
-- $3: how long 100ms tries, in seconds
-- $4: after how many seconds to reconcile: then it has given up what it still tries now
WITH last AS (
    SELECT max(alive_at) AS at FROM replicas
), gap AS (
    INSERT INTO reconciliations (id, since, until, due_at)
    SELECT $2, last.at, now(), now() + make_interval(secs => $4) FROM last
    WHERE last.at < now() - make_interval(secs => $3)
    ON CONFLICT (since) WHERE NOT manual DO NOTHING
    RETURNING id
), old AS (
    DELETE FROM replicas USING last WHERE alive_at < last.at AND alive_at < now() - interval '1 hour' AND id <> $1
), alive AS (
    INSERT INTO replicas (id, started_at, alive_at) VALUES ($1, now(), now())
    ON CONFLICT (id) DO UPDATE SET alive_at = excluded.alive_at
)
SELECT EXISTS (SELECT FROM gap) AS "gap!"
