-- no-transaction
-- The events that stand aside, of each room the first that is due.
CREATE INDEX CONCURRENTLY IF NOT EXISTS forwards_aside_by_room ON forwards (room_id, due_at)
    WHERE state = 'waiting' AND aside;
