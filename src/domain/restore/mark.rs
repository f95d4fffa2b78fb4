//! Restore marks: how a restored value is distinguished from a change that the player made.

use chrono::TimeDelta;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::domain::{Metadata, SavedState, Timestamp, UserId};

/// The name of a change of a user's metadata.
///
/// It is given when the change is first recorded, and stays: when the change is dated back, and when
/// a restore moves the state to another peer. So what was claimed stays claimed.
/// The first half is a digest of whose change it is and of when it was first observed, the second
/// half one of the metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangeId(Uuid);

impl ChangeId {
    /// The change to this metadata, first observed at this instant.
    pub fn new(user_id: &UserId, observed_at: Timestamp, metadata: &Metadata) -> Self {
        let mut digest = Sha256::new();
        digest.update(user_id.as_str().as_bytes());
        digest.update(observed_at.to_utc().timestamp_micros().to_be_bytes());
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&digest.finalize()[..8]);
        bytes[8..].copy_from_slice(&metadata.digest().as_bytes()[8..]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// Whether it is a change to this metadata.
    pub fn is_to(self, metadata: &Metadata) -> bool {
        self.0.as_bytes()[8..] == metadata.digest().as_bytes()[8..]
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
/// It is stored before the state is sent, and taken back where 100ms refuses the state. Whoever observes the value on the peer next, through
/// whichever replica and whatever became of the sender, knows by the mark that it is no new change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RestoreMark {
    /// When the mark was made. Later than the change, and than the latest observation of the peer.
    pub at: Timestamp,
    /// The change that is sent.
    pub change: ChangeId,
    /// When that change was made.
    pub changed_at: Timestamp,
    /// When 100ms answered that the peer has it; none until then. What was requested between `at`
    /// and then may have been answered before the restore took effect.
    pub answered_at: Option<Timestamp>,
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
            change: state.change,
            changed_at: state.changed_at,
            answered_at: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Effect, PeerId, PeerKey, PeerState, Report, RoomId, Rules};

    #[test]
    fn a_refusal_takes_back_exactly_its_own_mark() {
        let at = |second: i64| {
            let time = chrono::DateTime::from_timestamp(1_800_000_000 + second, 0);
            Timestamp::from(time.unwrap())
        };
        let mark = |second: i64| RestoreMark {
            at: at(second),
            change: ChangeId::from_uuid(Uuid::nil()),
            changed_at: at(0),
            answered_at: None,
        };
        let key = PeerKey::new(
            UserId::parse("player-7").unwrap(),
            RoomId::parse("room").unwrap(),
            PeerId::parse("new").unwrap(),
        )
        .unwrap();
        let rules = Rules::default();
        let (first, second) = (mark(1), mark(2));
        let mut state = PeerState::default();
        for (mark, refused, expected) in [
            (first, second, Some(first)),
            (second, first, Some(second)),
            (second, second, None),
        ] {
            let (key, of_key) = (key.clone(), key.clone());
            state.apply(&Report::Restoring { key, mark }, &rules);
            let not_restored = Report::NotRestored {
                key: of_key,
                mark: refused,
            };
            assert_eq!(state.apply(&not_restored, &rules), Effect::None);
            assert_eq!(state.restored, expected);
        }
    }

    #[test]
    fn a_change_is_to_its_own_metadata_and_comes_back_from_the_database() {
        let user_id = UserId::parse("player-7").unwrap();
        let (set, other) = (Metadata::from_text("a"), Metadata::from_text("b"));
        let change = ChangeId::new(&user_id, Timestamp::default(), &set);
        assert!(change.is_to(&set));
        assert!(!change.is_to(&other));
        assert_eq!(ChangeId::from_uuid(change.as_uuid()), change);
        assert_ne!(change.as_uuid(), Uuid::nil());
    }
}
