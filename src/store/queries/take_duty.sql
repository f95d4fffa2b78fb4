-- Takes a duty, if it was not done lately and nobody has it.
-- $1: which
-- $2: how long ago it has to have been done, in seconds
-- $3: the lease, in seconds
INSERT INTO duties AS known (name, leased_until) VALUES ($1, now() + make_interval(secs => $3))
ON CONFLICT (name) DO UPDATE SET leased_until = excluded.leased_until
WHERE (known.leased_until IS NULL OR known.leased_until <= now())
  AND (known.done_at IS NULL OR known.done_at <= now() - make_interval(secs => $2))
