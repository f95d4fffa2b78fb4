-- Makes some of the dead events wait again; they hold up no others.
-- $1: those that died before
-- $2: how many at most
UPDATE forwards SET due_at = now(), attempts = 0, failing_since = NULL, aside = true, dead_at = NULL, state = 'waiting'
WHERE id IN (
    SELECT id FROM forwards
    WHERE state = 'dead' AND dead_at < $1
    ORDER BY dead_at LIMIT $2
    FOR UPDATE SKIP LOCKED
)
