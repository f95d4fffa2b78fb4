-- Rows that are observed again unchanged are updated in their page, without an entry in any index (HOT), where it has space.
-- A room that is fetched again has its rows in the order in which they were first written, 512 in a transaction: all of a
-- page at once, which then needs the space of all of them. Measured with a room of 20,000 peers and six fetches, as the
-- share of HOT updates of the first, second and third, the size of peers without its indexes after the sixth, and the WAL:
--     fillfactor 80: 27 %, 39 %, 53 %, 26 MB (7.6 MB before), 69 MB
--     fillfactor 70: 44 %, 63 %, 81 %, 20 MB (8.7 MB before), 47 MB
--     fillfactor 60: 71 %, 90 %, 98 %, 15 MB (10.3 MB before), 31 MB
--     fillfactor 50: 100 %, 100 %, 100 %, 12 MB (12.3 MB before), 24 MB
-- Most rows of peers are of peers that have ended, for which the space is lost. Of a million peers that join, have a state,
-- are observed again and leave, with a vacuum every 10,000, the table has 394 MB with 80, 450 MB with 70 and 566 MB with 60,
-- and 860, 930 and 1,040 MB with its indexes; as many of them go through in a second. So 60: what no answer needs is
-- deleted, and a room is fetched again and again. History, most rows of which are never updated, goes from 90 to 80.
-- This concerns pages that are written from now on.
SET lock_timeout = '5s';
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

ALTER TABLE peers SET (fillfactor = 60);
ALTER TABLE snapshots_default SET (fillfactor = 80);

DO $$
DECLARE
    part regclass;
BEGIN
    -- Those that are written to, now or later.
    FOR part IN SELECT known.part FROM rejoin_history_partitions() AS known WHERE known.upper > now() LOOP
        EXECUTE format('ALTER TABLE %s SET (fillfactor = 80)', part);
    END LOOP;
END $$;
