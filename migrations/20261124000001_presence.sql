-- Who is connected, and how who is not ended; told by webhooks.

ALTER TABLE peers
    ADD COLUMN connected_since timestamptz,
    ADD COLUMN session_id text COLLATE "C",
    ADD COLUMN ended_at timestamptz,
    ADD COLUMN end_kind text,
    ADD COLUMN end_reason text,
    ADD CONSTRAINT peers_end_kind CHECK (end_kind IN ('dropped', 'left', 'kicked', 'ended'));

COMMENT ON COLUMN peers.source IS 'Where the content in force was first seen: peer, room or webhook.';
COMMENT ON COLUMN snapshots.source IS 'Where this content was first seen: peer, room or webhook.';
COMMENT ON COLUMN peers.connected_since IS 'Since when the peer is connected, or was until it ended; null where no webhook told.';
COMMENT ON COLUMN peers.session_id IS 'The session of the room that the peer was in; null where no webhook told.';
COMMENT ON COLUMN peers.ended_at IS 'When the peer ended; null while it has not, and where it was seen later.';
COMMENT ON COLUMN peers.end_kind IS 'How: dropped, left, kicked or ended.';
COMMENT ON COLUMN peers.end_reason IS 'Why, in the words of 100ms.';

CREATE INDEX peers_connected ON peers (user_id) WHERE connected_since IS NOT NULL AND ended_at IS NULL;

-- One row ends every peer of a session that is still in it, however many there are and whenever their own events arrive.
-- Small and without a user_id: on a distributed Postgres a reference table.
CREATE TABLE session_ends (
    room_id text COLLATE "C" NOT NULL,
    session_id text COLLATE "C" NOT NULL,
    ended_at timestamptz NOT NULL,
    CONSTRAINT session_ends_pkey PRIMARY KEY (room_id, session_id)
);
CREATE INDEX session_ends_by_time ON session_ends (room_id, ended_at);

COMMENT ON TABLE session_ends IS 'The ends of sessions and rooms that webhooks told of.';
COMMENT ON COLUMN session_ends.room_id IS 'The room.';
COMMENT ON COLUMN session_ends.session_id IS 'The session; empty where only the room was told.';
COMMENT ON COLUMN session_ends.ended_at IS 'When it ended: the latest that was told.';

CREATE VIEW peer_presence AS
SELECT peers.user_id, peers.room_id, peers.peer_id, peers.name, peers.role, peers.joined_at, peers.last_observed_at,
       CASE WHEN peers.ended_at IS NOT NULL THEN peers.end_kind
            WHEN session_end.ended_at IS NOT NULL THEN 'ended'
            WHEN peers.connected_since IS NOT NULL THEN 'connected'
            ELSE 'unknown' END AS status,
       peers.end_reason AS reason,
       coalesce(peers.ended_at, session_end.ended_at, peers.connected_since) AS since
FROM peers
LEFT JOIN LATERAL (
    SELECT s.ended_at FROM session_ends s
    WHERE s.room_id = peers.room_id AND s.ended_at >= peers.last_observed_at
      AND (peers.session_id IS NULL OR s.session_id IN (peers.session_id, ''))
    ORDER BY s.ended_at LIMIT 1
) AS session_end ON true;

COMMENT ON VIEW peer_presence IS 'Every peer that was ever seen, and whether it is connected.';
COMMENT ON COLUMN peer_presence.user_id IS 'Whose peer it is.';
COMMENT ON COLUMN peer_presence.room_id IS 'The room.';
COMMENT ON COLUMN peer_presence.peer_id IS 'The peer.';
COMMENT ON COLUMN peer_presence.name IS 'The display name.';
COMMENT ON COLUMN peer_presence.role IS 'The last known role.';
COMMENT ON COLUMN peer_presence.joined_at IS 'When it joined, if known.';
COMMENT ON COLUMN peer_presence.last_observed_at IS 'When it was last seen.';
COMMENT ON COLUMN peer_presence.status IS 'connected, dropped, left, kicked, ended, or unknown where no webhook told.';
COMMENT ON COLUMN peer_presence.reason IS 'Why it ended, in the words of 100ms.';
COMMENT ON COLUMN peer_presence.since IS 'Since when it has this status.';
