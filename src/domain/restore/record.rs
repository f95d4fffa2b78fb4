//! What is stored of restores and claims: the job that a join queues, and the record of each.

use std::sync::Arc;

use crate::domain::{Claimant, PeerKey, ProblemCode, SavedState, Timestamp};

/// An automatic restore that a worker has taken from the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreJob {
    /// The new peer.
    pub key: PeerKey,
    /// When the join was received.
    pub queued_at: Timestamp,
    /// How often the job was taken, including now.
    /// Only the worker that took it last may finish it or put it back.
    pub attempts: i32,
}

/// Who has claimed a saved state, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The claimant, in its own words.
    pub claimed_by: Claimant,
    /// When.
    pub claimed_at: Timestamp,
}

/// How a restore ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreOutcome {
    /// 100ms accepted the state.
    Restored,
    /// The state was not sent.
    Skipped(SkipReason),
    /// Sending the state failed, or the peer could not be fetched.
    Failed(ProblemCode),
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

/// Why a state was not sent to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// The peer has metadata, which was not to be overwritten.
    AlreadyHasMetadata,
    /// The saved state is that very peer's.
    SamePeer,
    /// There is no saved state.
    NothingSaved,
}

impl SkipReason {
    /// Why a requested restore of `state` to this peer is skipped; none where it is not.
    pub fn of_request(
        state: &SavedState,
        peer: &PeerKey,
        has_metadata: bool,
        overwrite: bool,
    ) -> Option<Self> {
        if state.key == *peer {
            Some(Self::SamePeer)
        } else if has_metadata && !overwrite {
            Some(Self::AlreadyHasMetadata)
        } else {
            None
        }
    }

    /// The name in answers and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AlreadyHasMetadata => "already-has-metadata",
            Self::SamePeer => "same-peer",
            Self::NothingSaved => "nothing-saved",
        }
    }
}

/// Who asked for a restore or a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requester {
    /// A request, with the name of its API key, if the service has keys.
    Key(Option<Arc<str>>),
    /// The join of a new peer.
    Join,
}

/// What is recorded of every restore and claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumeRecord {
    /// When.
    pub at: Timestamp,
    /// The saved state.
    pub state: SavedState,
    /// The peer that it was for, if any.
    pub to: Option<PeerKey>,
    /// Who asked.
    pub requester: Requester,
}
