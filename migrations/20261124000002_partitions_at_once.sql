-- Rows move from the default partition to a new one. A reader or writer that was planned before the new partition was
-- attached, and then waited for the default one, found neither the rows in the old place nor the new place: they must wait
-- before they are planned, at the whole table. Where that is in use for long, the next call makes the partitions.
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);
CREATE OR REPLACE FUNCTION rejoin_prepare_partitions(starting timestamptz, months integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '2s' AS $$
DECLARE
    lower timestamptz;
    upper timestamptz;
    part text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('rejoin_prepare_partitions'));
    FOR month IN 0 .. months LOOP
        lower := date_trunc('month', starting AT TIME ZONE 'UTC') AT TIME ZONE 'UTC';
        lower := (lower AT TIME ZONE 'UTC' + make_interval(months => month)) AT TIME ZONE 'UTC';
        upper := (lower AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC';
        part := to_char(lower AT TIME ZONE 'UTC', '"snapshots_"YYYY_MM');
        CONTINUE WHEN to_regclass(part) IS NOT NULL;
        LOCK TABLE snapshots IN ACCESS EXCLUSIVE MODE;
        EXECUTE format('CREATE TABLE %I (LIKE snapshots INCLUDING DEFAULTS INCLUDING COMMENTS) WITH (fillfactor = 90)', part);
        EXECUTE format(
            'WITH moved AS (DELETE FROM snapshots_default WHERE first_observed_at >= %1$L AND first_observed_at < %2$L RETURNING *)
             INSERT INTO %3$I SELECT * FROM moved', lower, upper, part);
        EXECUTE format('ALTER TABLE snapshots ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', part, lower, upper);
        EXECUTE format('COMMENT ON TABLE %I IS %L', part, 'History of ' || to_char(lower AT TIME ZONE 'UTC', 'YYYY-MM') || ' (UTC).');
    END LOOP;
END $$;
