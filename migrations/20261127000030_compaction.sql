-- Rows of peers that no answer needs any more go after a while; history stays.
SET lock_timeout = '5s';

-- What went, in one row, so that nothing that is dated before it brings it back.
CREATE TABLE compactions (
    name text NOT NULL,
    settled_until timestamptz NOT NULL,
    CONSTRAINT compactions_pkey PRIMARY KEY (name)
);
COMMENT ON TABLE compactions IS 'Until when all is settled, since rows of that time are gone: at most one row.';
COMMENT ON COLUMN compactions.name IS 'Always peers.';
COMMENT ON COLUMN compactions.settled_until IS 'What is reported of this time or before is passed on and stored nowhere: half a day after the latest time that a deleted row of peers had.';

COMMENT ON TABLE peers IS 'The newest state of every peer, but for those that ended more than REJOIN_KEEP_PEERS ago and that no answer needs. Resume reads this table.';
COMMENT ON VIEW peer_presence IS 'Every peer that is still in peers, and whether it is connected.';
