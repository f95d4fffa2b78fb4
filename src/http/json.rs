//! The JSON shapes of the API's answers, which the commands print too.
//!
//! [`crate::domain`] knows nothing of JSON: what it holds becomes one of these shapes here.

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::{
    Claim, ConnectedPeer, Label, PeerPresence, SavedState, SkipReason, Snapshot, Source, Status,
    Timestamp,
};

/// A row of history: one content of one peer, and from when to when it was observed.
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
    name: Option<String>,
    #[schema(required)]
    role: Option<String>,
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
    joined_at: Option<TimeJson>,
    /// When this content was first observed.
    #[schema(value_type = DateTime<Utc>)]
    first_observed_at: TimeJson,
    /// When this content was last observed.
    #[schema(value_type = DateTime<Utc>)]
    last_observed_at: TimeJson,
    source: SourceJson,
}

impl From<Snapshot> for SnapshotJson {
    fn from(row: Snapshot) -> Self {
        Self {
            id: row.id,
            user_id: row.key.user_id.to_string(),
            room_id: row.key.room_id.to_string(),
            peer_id: row.key.peer_id.to_string(),
            name: text(row.name),
            role: text(row.role),
            metadata: row.metadata.as_json(),
            metadata_raw: row.metadata.raw().map(ToOwned::to_owned),
            tracks: row
                .tracks
                .and_then(|tracks| serde_json::from_str(tracks.as_str()).ok()),
            joined_at: row.joined_at.map(TimeJson),
            first_observed_at: TimeJson(row.first_observed_at),
            last_observed_at: TimeJson(row.last_observed_at),
            source: row.source.into(),
        }
    }
}

/// The saved state of a user.
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
    name: Option<String>,
    #[schema(required)]
    role: Option<String>,
    /// The metadata as JSON when it is JSON and nests no deeper than 100 levels, else as a string.
    #[schema(value_type = serde_json::Value)]
    metadata: Option<Box<RawValue>>,
    /// The exact text of the metadata.
    #[schema(value_type = String)]
    metadata_raw: Option<String>,
    #[schema(value_type = Option<DateTime<Utc>>, required)]
    joined_at: Option<TimeJson>,
    /// When the metadata was last observed to change.
    #[schema(value_type = DateTime<Utc>)]
    changed_at: TimeJson,
    /// When the peer was last observed with this state.
    #[schema(value_type = DateTime<Utc>)]
    last_observed_at: TimeJson,
    /// Whole seconds since `last_observed_at`.
    age_seconds: u64,
    /// The row of history that this state is.
    snapshot_id: Uuid,
    /// Whether the peer whose state this is is connected.
    presence: PresenceJson,
    /// The peers of the user that are connected now, according to webhooks.
    connected_peers: Vec<ConnectedPeerJson>,
}

impl ResumeJson {
    /// The state as answered at `now`.
    pub fn new(state: SavedState, now: Timestamp) -> Self {
        Self {
            user_id: state.key.user_id.to_string(),
            room_id: state.key.room_id.to_string(),
            peer_id: state.key.peer_id.to_string(),
            name: text(state.name),
            role: text(state.role),
            metadata: state.metadata.as_json(),
            metadata_raw: state.metadata.raw().map(ToOwned::to_owned),
            joined_at: state.joined_at.map(TimeJson),
            changed_at: TimeJson(state.changed_at),
            last_observed_at: TimeJson(state.last_observed_at),
            age_seconds: now.seconds_since(state.last_observed_at),
            snapshot_id: state.snapshot_id,
            presence: state.presence.peer.into(),
            connected_peers: state
                .presence
                .connected_peers
                .into_iter()
                .map(Into::into)
                .collect(),
        }
    }

    /// Whether the peer whose state it is dropped.
    pub(crate) fn is_dropped(&self) -> bool {
        self.presence.status == StatusJson::Dropped
    }

    /// What webhooks say in this answer: the part of it that changes without a new snapshot.
    pub(crate) fn presence(&self) -> (&PresenceJson, &[ConnectedPeerJson]) {
        (&self.presence, &self.connected_peers)
    }
}

/// Whether the peer is connected, why not, and since when.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Presence)]
pub(crate) struct PresenceJson {
    /// Whether it is connected.
    status: StatusJson,
    /// Why it ended, in the words of 100ms.
    #[schema(required)]
    reason: Option<String>,
    /// Since when.
    #[schema(value_type = Option<DateTime<Utc>>, required)]
    since: Option<TimeJson>,
}

impl From<PeerPresence> for PresenceJson {
    fn from(presence: PeerPresence) -> Self {
        Self {
            status: presence.status.into(),
            reason: text(presence.reason),
            since: presence.since.map(TimeJson),
        }
    }
}

/// A peer that is connected now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConnectedPeer)]
pub(crate) struct ConnectedPeerJson {
    /// The peer.
    peer_id: String,
    /// The room it is in.
    room_id: String,
    /// When it joined.
    #[schema(value_type = Option<DateTime<Utc>>, required)]
    joined_at: Option<TimeJson>,
}

impl From<ConnectedPeer> for ConnectedPeerJson {
    fn from(peer: ConnectedPeer) -> Self {
        Self {
            peer_id: peer.peer_id.to_string(),
            room_id: peer.room_id.to_string(),
            joined_at: peer.joined_at.map(TimeJson),
        }
    }
}

/// Who has claimed a state, and when.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Claim)]
pub(crate) struct ClaimJson {
    /// Who, in their own words.
    claimed_by: String,
    /// When.
    #[schema(value_type = DateTime<Utc>)]
    claimed_at: TimeJson,
}

impl From<Claim> for ClaimJson {
    fn from(claim: Claim) -> Self {
        Self {
            claimed_by: claim.claimed_by.to_string(),
            claimed_at: TimeJson(claim.claimed_at),
        }
    }
}

/// Where an observation comes from.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Source)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SourceJson {
    /// The peer endpoint of 100ms, with tracks.
    Peer,
    /// The list endpoint of 100ms, without tracks.
    Room,
    /// A webhook, without tracks.
    Webhook,
}

impl From<Source> for SourceJson {
    fn from(source: Source) -> Self {
        match source {
            Source::Peer => Self::Peer,
            Source::Room => Self::Room,
            Source::Webhook => Self::Webhook,
        }
    }
}

/// Whether a peer is connected.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Status)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StatusJson {
    /// It joined, and no webhook has reported an end.
    Connected,
    /// Its connection was lost.
    Dropped,
    /// It left.
    Left,
    /// It was removed.
    Kicked,
    /// Its session or room ended.
    Ended,
    /// No webhook has reported it.
    Unknown,
}

impl From<Status> for StatusJson {
    fn from(status: Status) -> Self {
        match status {
            Status::Connected => Self::Connected,
            Status::Dropped => Self::Dropped,
            Status::Left => Self::Left,
            Status::Kicked => Self::Kicked,
            Status::Ended => Self::Ended,
            Status::Unknown => Self::Unknown,
        }
    }
}

/// Why a state was not sent to a peer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SkipReason)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SkipReasonJson {
    /// The peer has metadata, and `overwrite` was not set.
    AlreadyHasMetadata,
    /// It is the state of that very peer.
    SamePeer,
    /// There is no state.
    NothingSaved,
}

impl From<SkipReason> for SkipReasonJson {
    fn from(reason: SkipReason) -> Self {
        match reason {
            SkipReason::AlreadyHasMetadata => Self::AlreadyHasMetadata,
            SkipReason::SamePeer => Self::SamePeer,
            SkipReason::NothingSaved => Self::NothingSaved,
        }
    }
}

/// An instant, in RFC 3339.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeJson(pub(crate) Timestamp);

impl Serialize for TimeJson {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

fn text(label: Option<Label>) -> Option<String> {
    label.map(|label| label.as_str().to_owned())
}
