-- Peers that ended with their session are marked in the background, so that a resume does not read them.
-- The new columns have constant defaults, so that this takes no time and the previous binary goes on.
SET lock_timeout = '5s';

ALTER TABLE peers ADD COLUMN ended_with_session boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN peers.ended_with_session IS 'Whether an end in session_ends is known to have ended the peer. Set in the background, and unset where the join or the session of the peer turns out to be another.';

ALTER TABLE session_ends ADD COLUMN next_check_at timestamptz DEFAULT now();
COMMENT ON COLUMN session_ends.next_check_at IS 'When peers are next looked for that this end has ended; null when that is done.';
