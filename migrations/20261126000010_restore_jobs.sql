-- Restores that wait are woken by the leave that they wait for, and every one of them ends in a row of resumes.
-- New columns have constant defaults, so that this takes no time and the previous binary goes on.
SET lock_timeout = '5s';

ALTER TABLE restore_jobs
    ADD COLUMN waiting boolean NOT NULL DEFAULT false,
    ADD COLUMN wakes integer NOT NULL DEFAULT 0,
    ADD COLUMN not_found_since timestamptz,
    ADD COLUMN ghost_checks integer NOT NULL DEFAULT 0;

COMMENT ON COLUMN restore_jobs.waiting IS 'Whether it waits for another event of the user. A leave makes it due at once.';
COMMENT ON COLUMN restore_jobs.wakes IS 'How many leaves of the user were reported since it was queued. One that comes during an attempt makes it due again.';
COMMENT ON COLUMN restore_jobs.not_found_since IS 'When 100ms first answered that the new peer is not there; null while it has not.';
COMMENT ON COLUMN restore_jobs.ghost_checks IS 'How often 100ms answered what other peers the user has in the room.';

-- A restore that is given up before any state is known has none.
ALTER TABLE resumes
    ALTER COLUMN change DROP NOT NULL,
    ALTER COLUMN snapshot_id DROP NOT NULL,
    ALTER COLUMN from_room_id DROP NOT NULL,
    ALTER COLUMN from_peer_id DROP NOT NULL,
    ADD CONSTRAINT resumes_state CHECK (
        (kind = 'restore' AND automatic)
        OR (change IS NOT NULL AND snapshot_id IS NOT NULL AND from_room_id IS NOT NULL AND from_peer_id IS NOT NULL)
    ) NOT VALID;

COMMENT ON COLUMN resumes.change IS 'Which change of the metadata the state is: the same for each peer that it was moved to. Null where no state was known.';
COMMENT ON COLUMN resumes.snapshot_id IS 'The row of snapshots that was the state; null where none was known.';
COMMENT ON COLUMN resumes.from_room_id IS 'The room of the peer whose state it was; null where none was known.';
COMMENT ON COLUMN resumes.from_peer_id IS 'The peer whose state it was; null where none was known.';
COMMENT ON COLUMN resumes.outcome IS 'sending, restored, claimed, already-has-metadata, same-peer, failed, or gave-up. A row that stays at sending is of a process that stopped before the answer came.';
COMMENT ON COLUMN resumes.problem IS 'Of what failed, the problem code; of what was given up, the reason.';
