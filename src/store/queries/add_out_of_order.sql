-- Adds rows of history at their own time, each unless a row of that time already covers it, and
-- returns those that do.
--
-- One entry for each row:
-- $1 to $3: user ids, room ids, peer ids
-- $4: snapshot ids
-- $5 to $10: sources, metadata, names, roles, tracks, times of the joins
-- $11: when it was observed
WITH given AS (
    SELECT * FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::bytea[], $7::text[],
        $8::text[], $9::text[], $10::timestamptz[], $11::timestamptz[])
      WITH ORDINALITY AS g(
        user_id, room_id, peer_id, id, source, metadata_raw, name, role, tracks,
        joined_at, observed_at, ord)
), covering AS (
    SELECT given.ord, stored.id, stored.first_observed_at, stored.last_observed_at
    FROM given CROSS JOIN LATERAL (
        SELECT s.id, s.first_observed_at, s.last_observed_at FROM snapshots s
        WHERE s.user_id = given.user_id AND s.room_id = given.room_id AND s.peer_id = given.peer_id
          AND s.first_observed_at <= given.observed_at AND s.last_observed_at >= given.observed_at
          AND s.metadata_raw IS NOT DISTINCT FROM given.metadata_raw
          AND (given.name IS NULL OR s.name = given.name)
          AND (given.role IS NULL OR s.role = given.role)
          AND (given.tracks IS NULL OR s.tracks::text = given.tracks)
        ORDER BY s.first_observed_at DESC
        LIMIT 1
    ) AS stored
), added AS (
    INSERT INTO snapshots (
        user_id, room_id, peer_id, id, source, metadata_raw, name, role, tracks,
        joined_at, first_observed_at, last_observed_at)
    SELECT user_id, room_id, peer_id, id, source, metadata_raw, name, role, tracks::json, joined_at,
           observed_at, observed_at
    FROM given WHERE NOT EXISTS (SELECT FROM covering WHERE covering.ord = given.ord)
    ON CONFLICT DO NOTHING
)
SELECT ord AS "ord!", id, first_observed_at, last_observed_at FROM covering
