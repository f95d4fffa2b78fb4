-- History's partitions are days, weeks or months, and go when they are old.
--
-- Whoever reads or writes history holds a lock of it, and whoever comes later waits behind a partition that is to be made
-- or dropped. So these functions wait for 50 ms at most, and fail then; whoever called them tries again later.
-- They run with their owner's rights, so that the service needs none to create or drop tables, and look in this schema
-- alone, and last among temporary tables: a caller's own could otherwise stand in for ours.
SET lock_timeout = '5s';
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

CREATE FUNCTION rejoin_history_partitions() RETURNS TABLE (part regclass, lower timestamptz, upper timestamptz)
LANGUAGE sql STABLE SET search_path FROM CURRENT SET timezone = 'UTC' SET datestyle = 'ISO, YMD' AS $$
    SELECT known.part,
           CASE known.bounds[1] WHEN 'MINVALUE' THEN '-infinity' ELSE trim(known.bounds[1], '''')::timestamptz END,
           CASE known.bounds[2] WHEN 'MAXVALUE' THEN 'infinity' ELSE trim(known.bounds[2], '''')::timestamptz END
    FROM (
        SELECT oid::regclass AS part,
               regexp_match(pg_get_expr(relpartbound, oid), '^FOR VALUES FROM \((.+)\) TO \((.+)\)$') AS bounds
        FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = 'snapshots'::regclass
    ) AS known
    WHERE known.bounds IS NOT NULL
$$;
COMMENT ON FUNCTION rejoin_history_partitions() IS 'The partitions of snapshots, but for the default one, and of what time they are.';

CREATE FUNCTION rejoin_make_partition(period text, starting timestamptz, ahead integer) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
    SET timezone = 'UTC' SET datestyle = 'ISO, YMD' SET lock_timeout = '50ms' AS $$
DECLARE
    one interval := make_interval(
        days => CASE period WHEN 'day' THEN 1 WHEN 'week' THEN 7 ELSE 0 END,
        months => CASE period WHEN 'month' THEN 1 ELSE 0 END);
    begins timestamptz := date_trunc(period, starting);
    ends timestamptz;
    part text;
BEGIN
    IF one = interval '0' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'period should be day, week or month';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('rejoin_prepare_partitions'));
    WHILE begins < date_trunc(period, starting) + (ahead + 1) * one LOOP
        SELECT known.upper INTO ends FROM rejoin_history_partitions() AS known
        WHERE known.lower <= begins AND known.upper > begins;
        IF NOT FOUND THEN
            -- Where the period was another before, it ends where the next partition begins.
            ends := least(date_trunc(period, begins) + one,
                          (SELECT min(known.lower) FROM rejoin_history_partitions() AS known WHERE known.lower > begins));
            part := to_char(begins, CASE WHEN ends = begins + interval '1 month' AND period = 'month'
                                         THEN '"snapshots_"YYYY_MM' ELSE '"snapshots_"YYYY_MM_DD' END);
            IF to_regclass(part) IS NULL THEN
                -- Rows move from the default partition. Whoever was planned before the new one was attached, and then waited
                -- for the default one, found neither: they must wait before they are planned, at the whole table.
                LOCK TABLE snapshots IN ACCESS EXCLUSIVE MODE;
                EXECUTE format('CREATE TABLE %I (LIKE snapshots INCLUDING DEFAULTS INCLUDING COMMENTS) WITH (fillfactor = 80)', part);
                EXECUTE format(
                    'WITH moved AS (DELETE FROM snapshots_default WHERE first_observed_at >= %1$L AND first_observed_at < %2$L RETURNING *)
                     INSERT INTO %3$I SELECT * FROM moved', begins, ends, part);
                EXECUTE format('ALTER TABLE snapshots ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', part, begins, ends);
                EXECUTE format('COMMENT ON TABLE %I IS %L', part, format('History from %s to %s (UTC).', begins::date, ends::date));
                RETURN part;
            END IF;
        END IF;
        begins := ends;
    END LOOP;
    RETURN NULL;
END $$;
REVOKE EXECUTE ON FUNCTION rejoin_make_partition(text, timestamptz, integer) FROM PUBLIC;
COMMENT ON FUNCTION rejoin_make_partition(text, timestamptz, integer) IS
    'Makes the first partition that is missing of the period (day, week or month) of `starting` and of the given number of them after it, and returns its name; null where none is missing.';

CREATE FUNCTION rejoin_drop_partition(keep interval) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
    SET timezone = 'UTC' SET datestyle = 'ISO, YMD' SET lock_timeout = '50ms' AS $$
DECLARE
    old regclass;
    name text;
BEGIN
    IF keep < interval '1 day' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'keep should be a day or more';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('rejoin_prepare_partitions'));
    SELECT known.part, known.part::text INTO old, name FROM rejoin_history_partitions() AS known
    WHERE known.upper <= now() - keep ORDER BY known.upper LIMIT 1;
    IF FOUND THEN
        EXECUTE format('DROP TABLE %s', old);
    END IF;
    RETURN name;
END $$;
REVOKE EXECUTE ON FUNCTION rejoin_drop_partition(interval) FROM PUBLIC;
COMMENT ON FUNCTION rejoin_drop_partition(interval) IS
    'Drops the oldest partition of history all of which is older than `keep`, and returns its name; null where there is none.';

CREATE FUNCTION rejoin_delete_late_history(keep interval, max_rows integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    deleted bigint;
BEGIN
    IF keep < interval '1 day' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'keep should be a day or more';
    END IF;
    WITH late AS MATERIALIZED (
        SELECT user_id, first_observed_at, id FROM snapshots_default WHERE first_observed_at < now() - keep
        ORDER BY first_observed_at LIMIT max_rows FOR UPDATE SKIP LOCKED
    )
    DELETE FROM snapshots_default AS known USING late
    WHERE (known.user_id, known.first_observed_at, known.id) = (late.user_id, late.first_observed_at, late.id);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN deleted;
END $$;
REVOKE EXECUTE ON FUNCTION rejoin_delete_late_history(interval, integer) FROM PUBLIC;
COMMENT ON FUNCTION rejoin_delete_late_history(interval, integer) IS
    'Deletes rows of snapshots_default that are older than `keep`, at most so many, and returns how many: those that came after their partition was dropped, or before there was any.';

-- The previous release makes months with this one, and goes on where others made days.
CREATE OR REPLACE FUNCTION rejoin_prepare_partitions(starting timestamptz, months integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    WHILE rejoin_make_partition('month', starting, months) IS NOT NULL LOOP
    END LOOP;
END $$;
COMMENT ON FUNCTION rejoin_prepare_partitions(timestamptz, integer) IS
    'Makes the partitions of the month of `starting` and of the given number of months after it, where they are missing. Kept for the previous release.';
COMMENT ON TABLE snapshots_default IS 'History of a time that has no partition: from before the first of them, or after that was dropped.';
