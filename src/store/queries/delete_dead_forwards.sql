-- Deletes some of the events that have been dead for long.
-- $1: for how long, in seconds
-- $2: how many at most
DELETE FROM forwards WHERE id IN (
    SELECT id FROM forwards
    WHERE state = 'dead' AND dead_at < now() - make_interval(secs => $1)
    ORDER BY dead_at LIMIT $2
    FOR UPDATE SKIP LOCKED
)
