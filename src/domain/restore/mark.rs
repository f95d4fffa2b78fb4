//! Restore marks: how a restored value is distinguished from a change that the player made.

use chrono::TimeDelta;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::domain::{Metadata, SavedState, Timestamp, UserId};

/// Identifies a change of a user's metadata: whose, when, and to what.
///
/// It names no peer. So it stays the same when a restore moves the state to another peer, and a
/// claim stays valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangeId(Uuid);

impl ChangeId {
    /// The change of the user's metadata to this one at this instant.
    pub fn of(user_id: &UserId, changed_at: Timestamp, metadata: &Metadata) -> Self {
        let mut digest = Sha256::new();
        let user = user_id.as_str().as_bytes();
        digest.update((user.len() as u64).to_be_bytes());
        digest.update(user);
        digest.update(changed_at.to_utc().timestamp_micros().to_be_bytes());
        digest.update(metadata.raw().unwrap_or_default().as_bytes());
        let bytes = digest.finalize()[..16]
            .try_into()
            .expect("a SHA-256 digest is longer than 16 bytes");
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// The change that made this saved state.
    pub fn of_state(state: &SavedState) -> Self {
        Self::of(&state.key.user_id, state.changed_at, &state.metadata)
    }

    /// The change with this id, as [`ChangeId::as_uuid`] returned it.
    pub fn from_uuid(id: Uuid) -> Self {
        Self(id)
    }

    /// The id for the database.
    pub fn as_uuid(self) -> Uuid {
        self.0
    }
}

/// The note on a peer that a saved state is being sent to it.
///
/// It is stored before the state is sent. Whoever observes the value on the peer next, through
/// whichever replica and whatever became of the sender, knows by the mark that it is no new change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RestoreMark {
    /// When the mark was made. Later than the change, and than the latest observation of the peer.
    pub at: Timestamp,
    /// The change that is sent.
    pub change: ChangeId,
    /// When that change was made.
    pub changed_at: Timestamp,
}

impl RestoreMark {
    /// The mark for sending this state at `now` to a peer that was observed just before.
    pub fn new(state: &SavedState, now: Timestamp, observed_at: Timestamp) -> Self {
        // A webhook may have dated the change a little ahead of our clock.
        let after = state
            .changed_at
            .max(observed_at)
            .shifted(TimeDelta::microseconds(1));
        Self {
            at: now.max(after),
            change: ChangeId::of_state(state),
            changed_at: state.changed_at,
        }
    }

    /// Whether this metadata of that user's peer is what was sent.
    pub fn matches(&self, user_id: &UserId, metadata: &Metadata) -> bool {
        ChangeId::of(user_id, self.changed_at, metadata) == self.change
    }
}
