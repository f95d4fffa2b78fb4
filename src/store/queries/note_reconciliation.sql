-- Notes what came of a reconciliation so far, unless another attempt was taken since.
-- $1: the reconciliation
-- $2: the attempt
-- $3..$9: what came of it
-- $10: whether that ends it
-- $11: after how many seconds it is tried again; null where this attempt goes on
UPDATE reconciliations
SET due_at = CASE WHEN NOT $10 THEN coalesce(now() + make_interval(secs => $11), due_at) END,
    finished_at = CASE WHEN $10 THEN now() END,
    replayed = $3, not_replayed = $4, rooms = $5, peers = $6, changes = $7, corrected = $8, problem = $9
WHERE id = $1 AND attempts = $2 AND due_at IS NOT NULL
