-- Saved states that are sent back to new peers, and states that are claimed.

ALTER TABLE peers
    ADD COLUMN restored_at timestamptz,
    ADD COLUMN restored_change uuid,
    ADD COLUMN restored_changed_at timestamptz;

COMMENT ON COLUMN peers.restored_at IS 'When a saved state was last sent to this peer; null where none was.';
COMMENT ON COLUMN peers.restored_change IS 'Which change that state was: a digest of user_id, the time of the change and the metadata.';
COMMENT ON COLUMN peers.restored_changed_at IS 'When that change was. Seen on this peer it is no new change, and keeps its time.';

-- A restore moves a state to another peer without a new change: of peers that tie, the one it was moved to last has it.
DROP INDEX peers_resume;
CREATE INDEX peers_resume ON peers
    (user_id, metadata_changed_at DESC, restored_at DESC NULLS LAST, joined_at DESC NULLS LAST, peer_id DESC, room_id DESC)
    WHERE metadata_changed_at IS NOT NULL;
DROP INDEX peers_resume_in_room;
CREATE INDEX peers_resume_in_room ON peers
    (user_id, room_id, metadata_changed_at DESC, restored_at DESC NULLS LAST, joined_at DESC NULLS LAST, peer_id DESC)
    WHERE metadata_changed_at IS NOT NULL;

CREATE OR REPLACE VIEW resume_state AS
SELECT newest.user_id, newest.room_id, newest.peer_id, newest.name, newest.role,
       rejoin_jsonb(newest.metadata_raw) AS metadata,
       rejoin_text(newest.metadata_raw) AS metadata_text,
       newest.metadata_raw,
       newest.joined_at,
       newest.metadata_changed_at AS changed_at,
       newest.last_observed_at,
       newest.snapshot_id
FROM (
    SELECT DISTINCT ON (user_id) *
    FROM peers
    WHERE metadata_changed_at IS NOT NULL
    ORDER BY user_id, metadata_changed_at DESC, restored_at DESC NULLS LAST, joined_at DESC NULLS LAST, peer_id DESC,
             room_id DESC
) AS newest
WHERE octet_length(newest.metadata_raw) > 0;

CREATE TABLE resumes (
    user_id text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    kind text NOT NULL,
    at timestamptz NOT NULL,
    change uuid NOT NULL,
    snapshot_id uuid NOT NULL,
    from_room_id text COLLATE "C" NOT NULL,
    from_peer_id text COLLATE "C" NOT NULL,
    to_room_id text COLLATE "C",
    to_peer_id text COLLATE "C",
    automatic boolean NOT NULL,
    requested_by text,
    claimed_by text,
    dropped_at timestamptz,
    after_drop interval GENERATED ALWAYS AS (at - dropped_at) STORED,
    outcome text NOT NULL,
    problem text,
    CONSTRAINT resumes_pkey PRIMARY KEY (user_id, id),
    CONSTRAINT resumes_kind CHECK (kind IN ('restore', 'claim')),
    CONSTRAINT resumes_claimant CHECK ((kind = 'claim') = (claimed_by IS NOT NULL))
);
-- A change is claimed once, through whichever replica.
CREATE UNIQUE INDEX resumes_claim ON resumes (user_id, change) WHERE kind = 'claim';
CREATE INDEX resumes_by_time ON resumes (at);

COMMENT ON TABLE resumes IS 'Every restore of a saved state to a peer, and every claim of one.';
COMMENT ON COLUMN resumes.user_id IS 'Whose state.';
COMMENT ON COLUMN resumes.id IS 'UUIDv7.';
COMMENT ON COLUMN resumes.kind IS 'restore: sent, or to be sent, to a peer. claim: taken by somebody, once.';
COMMENT ON COLUMN resumes.at IS 'When.';
COMMENT ON COLUMN resumes.change IS 'Which change of the metadata the state is: the same for each peer that it was moved to.';
COMMENT ON COLUMN resumes.snapshot_id IS 'The row of snapshots that was the state.';
COMMENT ON COLUMN resumes.from_room_id IS 'The room of the peer whose state it was.';
COMMENT ON COLUMN resumes.from_peer_id IS 'The peer whose state it was.';
COMMENT ON COLUMN resumes.to_room_id IS 'The room of the peer that it was for.';
COMMENT ON COLUMN resumes.to_peer_id IS 'The peer that it was for; null of a claim without one.';
COMMENT ON COLUMN resumes.automatic IS 'Whether a join, and not a request, was the cause.';
COMMENT ON COLUMN resumes.requested_by IS 'The name of the API key of the request; null where there was none.';
COMMENT ON COLUMN resumes.claimed_by IS 'Who claimed it, in their own words.';
COMMENT ON COLUMN resumes.dropped_at IS 'When the peer whose state it was dropped; null where it did not, or nobody had told yet.';
COMMENT ON COLUMN resumes.after_drop IS 'How long after that.';
COMMENT ON COLUMN resumes.outcome IS 'restored, claimed, already-has-metadata, same-peer, or failed.';
COMMENT ON COLUMN resumes.problem IS 'Of what failed, the problem code.';

-- Restores that a join has caused. A row is here until it is done, or given up.
CREATE TABLE restore_jobs (
    user_id text COLLATE "C" NOT NULL,
    room_id text COLLATE "C" NOT NULL,
    peer_id text COLLATE "C" NOT NULL,
    queued_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    CONSTRAINT restore_jobs_pkey PRIMARY KEY (user_id, room_id, peer_id)
);
CREATE INDEX restore_jobs_due ON restore_jobs (due_at);

COMMENT ON TABLE restore_jobs IS 'New, empty peers that a saved state is to be restored to.';
COMMENT ON COLUMN restore_jobs.user_id IS 'Whose state.';
COMMENT ON COLUMN restore_jobs.room_id IS 'The room of the new peer.';
COMMENT ON COLUMN restore_jobs.peer_id IS 'The new peer.';
COMMENT ON COLUMN restore_jobs.queued_at IS 'When the join was told.';
COMMENT ON COLUMN restore_jobs.due_at IS 'When a worker may take it. Who takes it moves this ahead: a worker that dies leaves it to another then.';
COMMENT ON COLUMN restore_jobs.attempts IS 'How often it was taken.';
