-- Makes an event due now. One that is dead waits again, and holds up no other.
-- $1: its id
UPDATE forwards SET
    due_at = CASE WHEN sending THEN due_at ELSE now() END,
    attempts = CASE WHEN state = 'dead' THEN 0 ELSE attempts END,
    failing_since = CASE WHEN state = 'dead' THEN NULL ELSE failing_since END,
    aside = aside OR state = 'dead',
    dead_at = NULL,
    state = 'waiting'
WHERE id = $1
RETURNING position, id, room_id, user_id, received_at, state, attempts, due_at, failing_since, last_error, dead_at
