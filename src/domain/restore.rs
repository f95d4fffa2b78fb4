//! Restores: which change a saved state is, and the mark on a peer that it is sent back to.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Claimant, Metadata, PeerKey, ProblemCode, SavedState, Timestamp, UserId};

/// A change of a user's metadata: whose, when, and to what.
///
/// It names no peer, so that it stays the same when a restore moves the state to another one, and what was claimed stays
/// claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangeId(Uuid);

impl ChangeId {
    /// The change to this metadata at this instant.
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

    /// The change that a saved state is.
    pub fn of_state(state: &SavedState) -> Self {
        Self::of(&state.key.user_id, state.changed_at, &state.metadata)
    }

    /// The change of that id.
    pub fn from_uuid(id: Uuid) -> Self {
        Self(id)
    }

    /// Its id.
    pub fn as_uuid(self) -> Uuid {
        self.0
    }
}

/// The mark on a peer that a saved state is sent to. Written before it is sent, so that whoever sees the peer next,
/// through whichever replica and whatever became of the sender, knows the value for what it is: no new change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RestoreMark {
    /// When: later than the change, and than the last sight of the peer before.
    pub at: Timestamp,
    /// Which change is sent.
    pub change: ChangeId,
    /// When that change was.
    pub changed_at: Timestamp,
}

impl RestoreMark {
    /// The mark for sending this state at `now` to a peer that was just seen.
    pub fn new(state: &SavedState, now: Timestamp, seen_at: Timestamp) -> Self {
        // A webhook may have dated the change a little ahead of our clock.
        let after = state
            .changed_at
            .max(seen_at)
            .shifted(chrono::TimeDelta::microseconds(1));
        Self {
            at: now.max(after),
            change: ChangeId::of_state(state),
            changed_at: state.changed_at,
        }
    }

    /// Whether this metadata of that user's peer is what was sent.
    pub fn sent(&self, user_id: &UserId, metadata: &Metadata) -> bool {
        ChangeId::of(user_id, self.changed_at, metadata) == self.change
    }
}

/// A restore that a join has caused, taken by a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreJob {
    /// The new peer.
    pub key: PeerKey,
    /// When the join was told.
    pub queued_at: Timestamp,
    /// How often it was taken, this time included. Only who took it last may finish it or put it back.
    pub attempts: i32,
}

/// Who has claimed a state, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Who, in their own words.
    pub claimed_by: Claimant,
    /// When.
    pub claimed_at: Timestamp,
}

/// What came of a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreOutcome {
    /// 100ms has taken the state.
    Restored,
    /// It was not sent, for this reason.
    Skipped(SkipReason),
    /// It was sent, or would have been, but for this problem code.
    Failed(ProblemCode),
}

/// Why a state was not sent to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// The peer has metadata, and was not to be overwritten.
    AlreadyHasMetadata,
    /// It is the state of that very peer.
    SamePeer,
    /// There is no state.
    NothingSaved,
}

impl SkipReason {
    /// The name in answers and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AlreadyHasMetadata => "already-has-metadata",
            Self::SamePeer => "same-peer",
            Self::NothingSaved => "nothing-saved",
        }
    }
}

impl RestoreOutcome {
    /// The name in the database and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Restored => "restored",
            Self::Skipped(reason) => reason.as_str(),
            Self::Failed(_) => "failed",
        }
    }

    /// The problem code of a failure.
    pub fn problem(self) -> Option<ProblemCode> {
        match self {
            Self::Failed(code) => Some(code),
            Self::Restored | Self::Skipped(_) => None,
        }
    }
}

/// Who asked for a restore or a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requester {
    /// A request, with the API key of that name, if there are keys.
    Key(Option<Arc<str>>),
    /// The join of a new peer.
    Join,
}

/// What is recorded of every restore and claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumeRecord {
    /// When.
    pub at: Timestamp,
    /// The state.
    pub state: SavedState,
    /// The peer that it was for.
    pub to: Option<PeerKey>,
    /// Who asked.
    pub requester: Requester,
}
