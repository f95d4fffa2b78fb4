//! What is stored of restores and claims: the job that a join queues, and the record of each.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::domain::named::named;
use crate::domain::{Claimant, PeerKey, ProblemCode, SavedState, Timestamp, UserId};

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
    /// How many leaves of the user had been reported when it was taken.
    pub wakes: i32,
    /// Since when 100ms has answered that the new peer is not there.
    pub not_found_since: Option<Timestamp>,
    /// How often 100ms answered what other peers the user has in the room.
    pub ghost_checks: i32,
}

impl RestoreJob {
    /// The id of its row in the log. Every attempt has the same, so that there is one row.
    pub fn record_id(&self) -> Uuid {
        let micros = self.queued_at.to_utc().timestamp_micros();
        let mut digest = Sha256::new();
        for part in [
            self.key.user_id.as_str(),
            self.key.room_id.as_str(),
            self.key.peer_id.as_str(),
        ] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        digest.update(micros.to_be_bytes());
        let random = digest.finalize()[..10]
            .try_into()
            .expect("a SHA-256 digest is longer than 10 bytes");
        let millis = micros.max(0).unsigned_abs() / 1000;
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }
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
    /// None yet: the state is being sent.
    Sending,
    /// 100ms accepted the state.
    Restored,
    /// The state was not sent.
    Skipped(SkipReason),
    /// Sending the state failed, or the peer could not be fetched.
    Failed(ProblemCode),
    /// There was no state to send, or it was not to be sent.
    GaveUp(GiveUpReason),
}

impl RestoreOutcome {
    /// The name in the database and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sending => "sending",
            Self::Restored => "restored",
            Self::Skipped(reason) => reason.as_str(),
            Self::Failed(_) => "failed",
            Self::GaveUp(_) => "gave-up",
        }
    }

    /// The problem code of a failure, or why a restore was given up.
    pub fn problem(self) -> Option<&'static str> {
        match self {
            Self::Failed(code) => Some(code.as_str()),
            Self::GaveUp(reason) => Some(reason.as_str()),
            Self::Sending | Self::Restored | Self::Skipped(_) => None,
        }
    }
}

named! {
    /// Why an automatic restore was given up. The first three are also what it waits for until then.
    pub enum GiveUpReason {
        /// No state is saved.
        NothingSaved = "nothing-saved",
        /// The drop of the state's peer was not reported.
        DropNotReported = "drop-not-reported",
        /// Another peer of the user is connected, and may have a newer state.
        NewerPeer = "newer-peer-connected",
        /// The state's peer left by itself.
        Left = "left",
        /// The state's peer was removed.
        Kicked = "kicked",
        /// The state's peer ended too long ago.
        OutsideWindow = "outside-window",
        /// The new peer has ended itself.
        PeerEnded = "peer-ended",
    }
}

named! {
    /// Why a state was not sent to a peer: the same in answers and in the database.
    pub enum SkipReason {
        /// The peer has metadata, which was not to be overwritten.
        AlreadyHasMetadata = "already-has-metadata",
        /// The saved state is that very peer's.
        SamePeer = "same-peer",
        /// There is no saved state.
        NothingSaved = "nothing-saved",
    }
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
    /// The id of its row.
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// The user.
    pub user_id: UserId,
    /// The saved state. Only an automatic restore that is given up may have none.
    pub state: Option<SavedState>,
    /// The peer that it was for, if any.
    pub to: Option<PeerKey>,
    /// Who asked.
    pub requester: Requester,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{PeerId, RoomId};

    fn job(user: &str, room: &str, peer: &str, second: i64) -> RestoreJob {
        let key = PeerKey::new(
            UserId::parse(user).unwrap(),
            RoomId::parse(room).unwrap(),
            PeerId::parse(peer).unwrap(),
        );
        RestoreJob {
            key: key.unwrap(),
            queued_at: chrono::DateTime::from_timestamp(second, 0).unwrap().into(),
            attempts: 1,
            wakes: 0,
            not_found_since: None,
            ghost_checks: 0,
        }
    }

    #[test]
    fn every_attempt_at_a_job_has_the_same_row_and_another_job_has_another() {
        let first = job("user", "room", "peer", 1_800_000_000);
        let again = RestoreJob {
            attempts: 5,
            wakes: 2,
            ghost_checks: 3,
            ..first.clone()
        };
        assert_eq!(first.record_id(), again.record_id());
        for other in [
            job("other", "room", "peer", 1_800_000_000),
            job("user", "other", "peer", 1_800_000_000),
            job("user", "room", "other", 1_800_000_000),
            job("user", "roomp", "eer", 1_800_000_000),
            job("user", "room", "peer", 1_800_000_001),
        ] {
            assert_ne!(first.record_id(), other.record_id(), "{other:?}");
        }
        let timestamp = first.record_id().get_timestamp().unwrap().to_unix();
        assert_eq!(first.record_id().get_version_num(), 7);
        assert_eq!(timestamp, (1_800_000_000, 0));
    }

    #[test]
    fn outcomes_have_names_and_only_failures_and_give_ups_a_problem() {
        let failed = RestoreOutcome::Failed(ProblemCode::UpstreamTimeout);
        for (outcome, name, problem) in [
            (RestoreOutcome::Sending, "sending", None),
            (RestoreOutcome::Restored, "restored", None),
            (
                RestoreOutcome::Skipped(SkipReason::AlreadyHasMetadata),
                "already-has-metadata",
                None,
            ),
            (
                RestoreOutcome::Skipped(SkipReason::SamePeer),
                "same-peer",
                None,
            ),
            (
                RestoreOutcome::Skipped(SkipReason::NothingSaved),
                "nothing-saved",
                None,
            ),
            (failed, "failed", Some("upstream-timeout")),
        ] {
            assert_eq!((outcome.as_str(), outcome.problem()), (name, problem));
        }
        for (reason, name) in [
            (GiveUpReason::NothingSaved, "nothing-saved"),
            (GiveUpReason::DropNotReported, "drop-not-reported"),
            (GiveUpReason::NewerPeer, "newer-peer-connected"),
            (GiveUpReason::Left, "left"),
            (GiveUpReason::Kicked, "kicked"),
            (GiveUpReason::OutsideWindow, "outside-window"),
            (GiveUpReason::PeerEnded, "peer-ended"),
        ] {
            let outcome = RestoreOutcome::GaveUp(reason);
            assert_eq!(
                (outcome.as_str(), outcome.problem()),
                ("gave-up", Some(name))
            );
        }
    }
}
