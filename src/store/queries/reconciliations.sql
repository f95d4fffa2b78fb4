-- A page of reconciliations, newest first, or one of them.
-- $1: only this one, or null
-- $2: the last one of the page before, or null
-- $3: how many
SELECT id, since, until, requested_by, manual, attempts, due_at, finished_at, replayed, not_replayed, rooms, peers,
       changes, corrected, problem
FROM reconciliations
WHERE (SELECT rejoin_require_primary()) AND ($1::uuid IS NULL OR id = $1) AND ($2::uuid IS NULL OR id < $2)
ORDER BY id DESC LIMIT $3
