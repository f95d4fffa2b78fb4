-- How many events wait to be passed on: two counts, each of one index.
SELECT (SELECT count(*) FROM forwards WHERE state = 'waiting' AND NOT aside)
    + (SELECT count(*) FROM forwards WHERE state = 'waiting' AND aside) AS "waiting!"
WHERE (SELECT rejoin_require_primary())
