//! What the service answers: a row of history, and the state of a user.

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    ConnectedPeer, Label, Metadata, PeerKey, PresenceJson, Source, Status, Timestamp, Tracks,
    UserPresence,
};

/// A row of history: one content of one peer, and from when to when it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// `UUIDv7`, ordered by `first_observed_at`.
    pub id: Uuid,
    /// Whose.
    pub key: PeerKey,
    /// The display name, as the source told it.
    pub name: Option<Label>,
    /// The role, as the source told it.
    pub role: Option<Label>,
    /// The exact metadata.
    pub metadata: Metadata,
    /// The tracks; none when the source has none.
    pub tracks: Option<Tracks>,
    /// When the peer joined.
    pub joined_at: Option<Timestamp>,
    /// When this content was first seen.
    pub first_observed_at: Timestamp,
    /// When this content was last seen.
    pub last_observed_at: Timestamp,
    /// Who told it first.
    pub source: Source,
}

/// The saved state of a user: of the peer whose metadata changed last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedState {
    /// Whose, and of which peer in which room.
    pub key: PeerKey,
    /// The row of history that this state is.
    pub snapshot_id: Uuid,
    /// The exact metadata; empty after a clear.
    pub metadata: Metadata,
    /// When the metadata last changed.
    pub changed_at: Timestamp,
    /// The display name.
    pub name: Option<Label>,
    /// The role.
    pub role: Option<Label>,
    /// When the peer joined.
    pub joined_at: Option<Timestamp>,
    /// When the peer was last seen with this state.
    pub last_observed_at: Timestamp,
    /// Whether that peer is connected, and which of the user's are.
    pub presence: UserPresence,
}

impl SavedState {
    /// When the peer whose state it is dropped; none where it did not, or nobody has told yet.
    pub fn dropped_at(&self) -> Option<Timestamp> {
        let PresenceJson { status, since, .. } = &self.presence.presence;
        since.filter(|_| *status == Status::Dropped)
    }
}

/// The JSON of a [`Snapshot`].
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Snapshot)]
pub struct SnapshotJson {
    /// `UUIDv7`, ordered by `first_observed_at`.
    id: Uuid,
    user_id: String,
    room_id: String,
    peer_id: String,
    /// The display name; null when names are not stored.
    #[schema(required)]
    name: Option<Label>,
    #[schema(required)]
    role: Option<Label>,
    /// The metadata as JSON when it is JSON and nests no deeper than 100 levels, else as a string; null when empty.
    #[schema(value_type = Option<serde_json::Value>, required)]
    metadata: Option<Box<RawValue>>,
    /// The exact text of the metadata; null when 100ms had null or nothing.
    #[schema(required)]
    metadata_raw: Option<String>,
    /// The tracks by track id, as 100ms describes them; null when the source has none.
    #[schema(value_type = Option<serde_json::Value>, required)]
    tracks: Option<Box<RawValue>>,
    #[schema(value_type = Option<DateTime<Utc>>, required)]
    joined_at: Option<Timestamp>,
    /// When this content was first seen.
    #[schema(value_type = DateTime<Utc>)]
    first_observed_at: Timestamp,
    /// When this content was last seen.
    #[schema(value_type = DateTime<Utc>)]
    last_observed_at: Timestamp,
    source: Source,
}

impl From<Snapshot> for SnapshotJson {
    fn from(row: Snapshot) -> Self {
        Self {
            id: row.id,
            user_id: row.key.user_id.to_string(),
            room_id: row.key.room_id.to_string(),
            peer_id: row.key.peer_id.to_string(),
            name: row.name,
            role: row.role,
            metadata: row.metadata.as_json(),
            metadata_raw: row.metadata.raw().map(ToOwned::to_owned),
            tracks: row
                .tracks
                .and_then(|tracks| serde_json::from_str(tracks.as_str()).ok()),
            joined_at: row.joined_at,
            first_observed_at: row.first_observed_at,
            last_observed_at: row.last_observed_at,
            source: row.source,
        }
    }
}

/// The JSON of a [`SavedState`].
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Resume)]
pub struct ResumeJson {
    user_id: String,
    /// The room of the peer whose state this is.
    room_id: String,
    /// The peer whose state this is.
    peer_id: String,
    /// The display name; null when names are not stored.
    #[schema(required)]
    name: Option<Label>,
    #[schema(required)]
    role: Option<Label>,
    /// The metadata as JSON when it is JSON and nests no deeper than 100 levels, else as a string.
    #[schema(value_type = serde_json::Value)]
    metadata: Option<Box<RawValue>>,
    /// The exact text of the metadata.
    #[schema(value_type = String)]
    metadata_raw: Option<String>,
    #[schema(value_type = Option<DateTime<Utc>>, required)]
    joined_at: Option<Timestamp>,
    /// When the metadata was last seen to change.
    #[schema(value_type = DateTime<Utc>)]
    changed_at: Timestamp,
    /// When the peer was last seen with this state.
    #[schema(value_type = DateTime<Utc>)]
    last_observed_at: Timestamp,
    /// Whole seconds since `last_observed_at`.
    age_seconds: u64,
    /// The row of history that this state is.
    snapshot_id: Uuid,
    /// Of the peer whose state this is.
    presence: PresenceJson,
    /// The user's peers that are connected now, as far as webhooks told.
    connected_peers: Vec<ConnectedPeer>,
}

impl ResumeJson {
    /// The state as answered at `now`.
    pub fn new(state: SavedState, now: Timestamp) -> Self {
        Self {
            user_id: state.key.user_id.to_string(),
            room_id: state.key.room_id.to_string(),
            peer_id: state.key.peer_id.to_string(),
            name: state.name,
            role: state.role,
            metadata: state.metadata.as_json(),
            metadata_raw: state.metadata.raw().map(ToOwned::to_owned),
            joined_at: state.joined_at,
            changed_at: state.changed_at,
            last_observed_at: state.last_observed_at,
            age_seconds: now.seconds_since(state.last_observed_at),
            snapshot_id: state.snapshot_id,
            presence: state.presence.presence,
            connected_peers: state.presence.connected_peers,
        }
    }

    /// Whether the peer whose state it is is connected.
    pub fn status(&self) -> Status {
        self.presence.status
    }

    /// Whole seconds since the state was last seen.
    pub fn age_seconds(&self) -> u64 {
        self.age_seconds
    }
}
