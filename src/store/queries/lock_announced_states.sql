-- Locks what was announced of these users, in one order, so that whoever announces their states next waits.
-- $1: user ids
WITH known AS MATERIALIZED (
    SELECT user_id, change FROM announced_states
    WHERE user_id = ANY($1::text[])
    ORDER BY user_id
    FOR NO KEY UPDATE
), added AS (
    INSERT INTO announced_states AS a (user_id)
    SELECT DISTINCT q.user_id FROM unnest($1::text[]) AS q(user_id)
    WHERE q.user_id NOT IN (SELECT user_id FROM known)
    ORDER BY 1
    -- Somebody else added it meanwhile.
    ON CONFLICT (user_id) DO UPDATE SET change = a.change
    RETURNING a.user_id, a.change
)
SELECT user_id AS "user_id!", change FROM known
UNION ALL
SELECT user_id, change FROM added
