//! rejoin's own events: what became of peers and of saved states, for the endpoint that events are
//! passed on to. And when a saved state is a new one.

use uuid::Uuid;

use super::{ChangeId, Claimant, End, Metadata, PeerKey, RoomId, SavedState, Timestamp, named};

/// What own events say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventPolicy {
    /// Whether they have the metadata.
    pub with_metadata: bool,
}

named! {
    /// The types of own events.
    pub enum OwnEventType {
        /// A peer dropped.
        PeerDropped = "rejoin.peer.dropped",
        /// A resume of a user returns another state.
        StateSaved = "rejoin.state.saved",
        /// A saved state was restored to a peer.
        StateRestored = "rejoin.state.restored",
        /// A saved state was claimed.
        StateClaimed = "rejoin.state.claimed",
    }
}

/// An own event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnEvent {
    /// A peer dropped.
    Dropped(DroppedPeer),
    /// What a resume of the user returns now, and did not before.
    Saved(SavedState),
    /// A saved state was restored.
    Restored {
        /// The state, on the peer whose it was.
        state: SavedState,
        /// The peer that it was sent to.
        to: PeerKey,
        /// When.
        at: Timestamp,
        /// Whether a join caused it.
        automatic: bool,
    },
    /// A saved state was claimed.
    Claimed {
        /// The state.
        state: SavedState,
        /// The peer that it is to be restored to, if the claim names one.
        to: Option<PeerKey>,
        /// When.
        at: Timestamp,
        /// Who has it.
        claimed_by: Claimant,
    },
}

/// A peer that dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DroppedPeer {
    /// The peer.
    pub key: PeerKey,
    /// When it joined.
    pub joined_at: Option<Timestamp>,
    /// When and why it dropped.
    pub end: End,
    /// Its current snapshot; none while only presence was reported.
    pub snapshot: Option<(Uuid, Metadata)>,
}

impl OwnEvent {
    /// Its type.
    pub fn event_type(&self) -> OwnEventType {
        match self {
            Self::Dropped(_) => OwnEventType::PeerDropped,
            Self::Saved(_) => OwnEventType::StateSaved,
            Self::Restored { .. } => OwnEventType::StateRestored,
            Self::Claimed { .. } => OwnEventType::StateClaimed,
        }
    }

    /// When what it says happened.
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Dropped(peer) => peer.end.at,
            Self::Saved(state) => state.changed_at,
            Self::Restored { at, .. } | Self::Claimed { at, .. } => *at,
        }
    }

    /// The peer whose state it is, or that dropped.
    pub fn key(&self) -> &PeerKey {
        match self {
            Self::Dropped(peer) => &peer.key,
            Self::Saved(state) | Self::Restored { state, .. } | Self::Claimed { state, .. } => {
                &state.key
            }
        }
    }

    /// The room among whose events it has its place: that of the peer that a state is for, if there
    /// is one.
    pub fn room_id(&self) -> &RoomId {
        match self {
            Self::Dropped(_) | Self::Saved(_) => &self.key().room_id,
            Self::Restored { to, .. } => &to.room_id,
            Self::Claimed { to, .. } => &to.as_ref().unwrap_or(self.key()).room_id,
        }
    }
}

/// What decides which of a user's peers a resume returns: the latest change, then the latest
/// restore, then the later join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResumeEntry {
    /// The latest change of the peer.
    pub change: ChangeId,
    /// When it counts as made.
    pub changed_at: Timestamp,
    /// When a state was last restored to the peer.
    pub restored_at: Option<Timestamp>,
    /// When the peer joined.
    pub joined_at: Option<Timestamp>,
}

/// A peer that was written.
#[derive(Debug, Clone, Copy)]
pub struct WrittenPeer<'a> {
    /// The peer.
    pub key: &'a PeerKey,
    /// Its entry before; none while its metadata never changed.
    pub before: Option<ResumeEntry>,
    /// Whether its state now is one that was restored to it.
    pub is_restored: bool,
}

/// Whether what a resume of a user returns after some of the user's peers were written is another
/// state than before. A state that is restored stays the same.
///
/// `announced` is the change of the state before. Where that is not known, since no event of the user
/// was queued so far, `written` has all that there is to know of it.
pub fn is_new_state(
    announced: Option<ChangeId>,
    state: &SavedState,
    written: &[WrittenPeer<'_>],
) -> bool {
    if let Some(announced) = announced {
        return announced != state.change;
    }
    written.iter().any(|peer| {
        let is_its_own = *peer.key == state.key && !peer.is_restored;
        match peer.before {
            None => is_its_own,
            Some(before) if before.change == state.change => false,
            // It was returned before, and is dated back behind this one.
            Some(before) => is_its_own || before.changed_at > state.changed_at,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{EndKind, PeerId, UserId, UserPresence};

    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_800_000_000 + second, 0)
            .unwrap()
            .into()
    }

    fn key(room: &str, peer: &str) -> PeerKey {
        PeerKey::new(
            UserId::parse("player-7").unwrap(),
            RoomId::parse(room).unwrap(),
            PeerId::parse(peer).unwrap(),
        )
        .unwrap()
    }

    fn change(text: &str, second: i64) -> ChangeId {
        let user_id = UserId::parse("player-7").unwrap();
        ChangeId::new(&user_id, at(second), &Metadata::from_text(text))
    }

    fn state(peer: &str, change: ChangeId, changed_at: i64) -> SavedState {
        SavedState {
            key: key("cave", peer),
            snapshot_id: Uuid::nil(),
            metadata: Metadata::from_text("hp 71"),
            change,
            changed_at: at(changed_at),
            name: None,
            role: None,
            joined_at: None,
            last_observed_at: at(changed_at),
            presence: UserPresence::default(),
        }
    }

    fn entry(change: ChangeId, second: i64) -> ResumeEntry {
        ResumeEntry {
            change,
            changed_at: at(second),
            restored_at: None,
            joined_at: None,
        }
    }

    #[test]
    fn a_state_is_new_where_another_change_was_announced() {
        let (one, other) = (change("a", 1), change("b", 2));
        let now = state("p", other, 2);
        assert!(is_new_state(Some(one), &now, &[]));
        assert!(!is_new_state(Some(other), &now, &[]));
    }

    #[test]
    fn where_none_was_announced_what_was_written_decides() {
        let (one, other) = (change("a", 1), change("b", 2));
        let (its, another) = (key("cave", "p"), key("cave", "q"));
        let now = state("p", other, 5);
        for (key, before, is_restored, expected) in [
            // The peer's first change, and one more.
            (&its, None, false, true),
            (&its, Some(entry(one, 1)), false, true),
            // The same change, dated anew.
            (&its, Some(entry(other, 9)), false, false),
            // It was restored, or stood behind.
            (&its, None, true, false),
            (&its, Some(entry(one, 1)), true, false),
            // Another peer's state was returned before, or was not.
            (&another, Some(entry(one, 9)), false, true),
            (&another, Some(entry(one, 5)), false, false),
            (&another, Some(entry(one, 4)), false, false),
            (&another, None, false, false),
            // It was returned on another peer before.
            (&another, Some(entry(other, 9)), false, false),
        ] {
            let written = WrittenPeer {
                key,
                before,
                is_restored,
            };
            assert_eq!(
                is_new_state(None, &now, &[written]),
                expected,
                "{written:?}"
            );
        }
        assert!(!is_new_state(None, &now, &[]));
    }

    #[test]
    fn each_event_has_its_type_its_time_and_its_room() {
        let state = state("old", change("a", 1), 1);
        let end = End {
            at: at(7),
            kind: EndKind::Dropped,
            reason: None,
        };
        let dropped = OwnEvent::Dropped(DroppedPeer {
            key: key("cave", "old"),
            joined_at: None,
            end,
            snapshot: None,
        });
        let restored = OwnEvent::Restored {
            state: state.clone(),
            to: key("attic", "new"),
            at: at(8),
            automatic: true,
        };
        let claimed = |to| OwnEvent::Claimed {
            state: state.clone(),
            to,
            at: at(9),
            claimed_by: Claimant::parse("server-1").unwrap(),
        };
        let new = key("attic", "new");
        for (event, name, second, room) in [
            (dropped, "rejoin.peer.dropped", 7, "cave"),
            (
                OwnEvent::Saved(state.clone()),
                "rejoin.state.saved",
                1,
                "cave",
            ),
            (restored, "rejoin.state.restored", 8, "attic"),
            (claimed(None), "rejoin.state.claimed", 9, "cave"),
            (claimed(Some(new)), "rejoin.state.claimed", 9, "attic"),
        ] {
            assert_eq!(event.event_type().as_str(), name);
            assert_eq!(event.at(), at(second), "{name}");
            assert_eq!(event.room_id().as_str(), room, "{name}");
            assert_eq!(event.key().peer_id.as_str(), "old", "{name}");
        }
    }
}
