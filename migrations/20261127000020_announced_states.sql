-- Which saved state of each user an event was queued for last.
SET lock_timeout = '5s';

CREATE TABLE announced_states (
    user_id text COLLATE "C" NOT NULL,
    change uuid,
    CONSTRAINT announced_states_pkey PRIMARY KEY (user_id)
);

COMMENT ON TABLE announced_states IS 'With REJOIN_FORWARD_EVENTS: the saved state of each user for which rejoin.state.saved was queued last, so that it is queued once for each. Whoever queues one locks the row.';
COMMENT ON COLUMN announced_states.user_id IS 'The user.';
COMMENT ON COLUMN announced_states.change IS 'The change of that state, as in peers.change_id; null while it is being found out.';
