-- Notes what is settled before rows of peers go: these have no time after that.
-- $1: how old they are at least, in seconds
INSERT INTO compactions AS known (name, settled_until)
VALUES ('peers', now() - make_interval(secs => $1) + interval '12 hours')
ON CONFLICT (name) DO UPDATE SET settled_until = greatest(known.settled_until, excluded.settled_until)
