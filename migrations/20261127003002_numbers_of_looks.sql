-- A watch that begins again has numbers of looks that the one before had not: whoever still looks at the room for that one
-- changes nothing of this one.
SET lock_timeout = '5s';

ALTER TABLE watches ALTER COLUMN looks SET DEFAULT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
COMMENT ON COLUMN watches.looks IS 'Which look a worker has: one more each time that it is taken. It begins with the time in microseconds, so that no two watches of a room have the same.';
