-- Changes rows of history of one user: removes, updates and adds.
-- $1: user id
-- One entry for each row that is removed:
-- $2, $3: when it was first observed, and its id
-- One entry for each row that is updated:
-- $4, $5: the first time under which it is stored, and its id
-- $6 to $12: source, name, role, tracks, first and last time, repeats as an array in text
-- One entry for each row that is added:
-- $13 to $24: room id, peer id, id, source, metadata, name, role, tracks, join, first and last time,
--             repeats as an array in text
WITH removed AS (
    DELETE FROM snapshots USING unnest($2::timestamptz[], $3::uuid[]) AS r(first_observed_at, id)
    WHERE snapshots.user_id = $1 AND snapshots.first_observed_at = r.first_observed_at
      AND snapshots.id = r.id
), updated AS (
    UPDATE snapshots SET
        source = u.source, name = u.name, role = u.role, tracks = u.tracks::json,
        first_observed_at = u.first_observed_at, last_observed_at = u.last_observed_at,
        repeats = u.repeats::timestamptz[]
    FROM unnest(
        $4::timestamptz[], $5::uuid[], $6::text[], $7::text[], $8::text[], $9::text[],
        $10::timestamptz[], $11::timestamptz[], $12::text[])
      AS u(stored_at, id, source, name, role, tracks, first_observed_at, last_observed_at, repeats)
    WHERE snapshots.user_id = $1 AND snapshots.first_observed_at = u.stored_at
      AND snapshots.id = u.id
)
INSERT INTO snapshots (
    user_id, room_id, peer_id, id, source, metadata_raw, name, role, tracks, joined_at,
    first_observed_at, last_observed_at, repeats)
SELECT $1, a.room_id, a.peer_id, a.id, a.source, a.metadata_raw, a.name, a.role, a.tracks::json,
       a.joined_at, a.first_observed_at, a.last_observed_at, a.repeats::timestamptz[]
FROM unnest(
    $13::text[], $14::text[], $15::uuid[], $16::text[], $17::bytea[], $18::text[], $19::text[],
    $20::text[], $21::timestamptz[], $22::timestamptz[], $23::timestamptz[], $24::text[])
  AS a(
    room_id, peer_id, id, source, metadata_raw, name, role, tracks, joined_at,
    first_observed_at, last_observed_at, repeats)
-- Twice the same late observation, without the rows that would tell that it is one.
ON CONFLICT DO NOTHING
