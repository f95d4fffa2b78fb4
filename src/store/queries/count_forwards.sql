-- How many events wait to be passed on.
SELECT count(*) AS "waiting!" FROM forwards WHERE state = 'waiting' AND (SELECT rejoin_require_primary())
