-- The users of whom a job waits.
-- $1: user ids
SELECT user_id AS "user_id!" FROM restore_jobs WHERE (SELECT rejoin_require_primary()) AND user_id = ANY ($1::text[])
UNION
SELECT user_id FROM fetch_jobs WHERE user_id = ANY ($1::text[]) AND due_at IS NOT NULL
