-- Answers come from the primary. A standby, and a primary that was demoted to read-only, still answer reads, but with a state
-- that may be older than what was acknowledged elsewhere. Every statement that reads for somebody asks this first.
SET lock_timeout = '5s';

CREATE FUNCTION rejoin_require_primary() RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean THEN
        RAISE read_only_sql_transaction USING MESSAGE = 'this server is read-only: a standby, or a primary that was demoted';
    END IF;
    RETURN true;
END $$;
COMMENT ON FUNCTION rejoin_require_primary() IS 'True on a server that accepts writes; an error (25006) on any other.';

-- The bounds of the partitions are times in UTC, whatever the session of the caller says of zones and formats.
ALTER FUNCTION rejoin_prepare_partitions(timestamptz, integer) SET timezone = 'UTC';
ALTER FUNCTION rejoin_prepare_partitions(timestamptz, integer) SET datestyle = 'ISO, YMD';
