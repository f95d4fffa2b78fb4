//! What the service answers: a row of history, and the state of a user.

use uuid::Uuid;

use super::{
    Label, Metadata, PeerKey, PeerPresence, Source, Status, Timestamp, Tracks, UserPresence,
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
        let PeerPresence { status, since, .. } = &self.presence.peer;
        since.filter(|_| *status == Status::Dropped)
    }
}
