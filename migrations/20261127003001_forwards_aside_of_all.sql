-- no-transaction
-- They are looked for room by room.
DROP INDEX CONCURRENTLY IF EXISTS forwards_aside;
