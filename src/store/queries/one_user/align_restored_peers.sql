-- Dates restored states like the change that was restored: a change has one date, on whichever peers of the user it is.
-- $1, $2: user id, change id
-- $3: a version that no other write has
WITH source AS MATERIALIZED (
    -- The peers that made the change. The lock makes a transaction that dates it anew finish first, or
    -- begin after this one, and then align what this one restores.
    SELECT metadata_changed_at FROM peers
    WHERE user_id = $1 AND change_id = $2 AND restored_change IS DISTINCT FROM change_id
    FOR SHARE
), dated AS (
    SELECT max(metadata_changed_at) AS changed_at FROM source HAVING count(*) > 0
)
UPDATE peers SET
    restored_changed_at = dated.changed_at,
    metadata_changed_at =
        CASE peers.change_id WHEN restored_change THEN dated.changed_at ELSE metadata_changed_at END,
    version = $3
FROM dated
WHERE peers.user_id = $1 AND peers.restored_change = $2
  AND peers.restored_changed_at IS DISTINCT FROM dated.changed_at
