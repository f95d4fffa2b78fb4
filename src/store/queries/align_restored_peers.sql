-- Dates restored states like the change that was restored: a change has one date, on whichever peers
-- of the user it is.
-- $1, $2: user ids, change ids
WITH source AS MATERIALIZED (
    -- The peers that made the change. The lock makes a transaction that dates it anew finish first, or
    -- begin after this one, and then align what this one restores.
    SELECT peers.user_id, peers.change_id, peers.metadata_changed_at
    FROM unnest($1::text[], $2::uuid[]) AS aligned(user_id, change_id)
    JOIN peers USING (user_id, change_id)
    WHERE peers.restored_change IS DISTINCT FROM peers.change_id
    FOR SHARE OF peers
), dated AS (
    SELECT user_id, change_id, max(metadata_changed_at) AS changed_at FROM source GROUP BY user_id, change_id
)
UPDATE peers SET
    restored_changed_at = dated.changed_at,
    metadata_changed_at =
        CASE peers.change_id WHEN restored_change THEN dated.changed_at ELSE metadata_changed_at END,
    -- Positive, and a number that no other write has.
    version = 1 + floor(random() * 4e18)::bigint
FROM dated
WHERE peers.user_id = dated.user_id AND peers.restored_change = dated.change_id
  AND peers.restored_changed_at IS DISTINCT FROM dated.changed_at
