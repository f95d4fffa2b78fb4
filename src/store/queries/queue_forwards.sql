-- Queues events to be passed on, in the order of the entries. Queued again, an event is the same.
-- $1: ids
-- $2: room ids; empty for no room
-- $3: user ids; null for no user
-- $4: headers, as JSON
-- $5: bodies
INSERT INTO forwards (id, room_id, user_id, headers, body, received_at, due_at)
SELECT id, room_id, user_id, headers::jsonb, body, now(), now()
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bytea[])
    WITH ORDINALITY AS q(id, room_id, user_id, headers, body, ord)
ORDER BY ord
ON CONFLICT (id) DO NOTHING
