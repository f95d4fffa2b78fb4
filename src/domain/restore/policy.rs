//! The policy of automatic restores: whether a saved state is sent to a peer that has just joined.

use chrono::TimeDelta;

use super::GiveUpReason;
use crate::domain::{PeerKey, PeerPresence, SavedState, Status, Timestamp};

/// Which saved states are restored automatically, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestorePolicy {
    /// Which states.
    pub when: RestoreWhen,
    /// For how long after the end of the state's peer.
    /// Where no end was reported, for how long after the peer was last observed.
    pub window: TimeDelta,
    /// To which rooms.
    pub scope: RestoreScope,
}

/// Which saved states are restored automatically.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreWhen {
    /// Those of peers that dropped.
    Dropped,
    /// All.
    Always,
}

/// To which rooms a saved state is restored automatically.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreScope {
    /// The room of the state.
    Room,
    /// Any room.
    Any,
}

/// The peer that has just joined.
#[derive(Debug, Clone, Copy)]
pub struct NewPeer<'a> {
    /// Its key.
    pub key: &'a PeerKey,
    /// Whether it has metadata at 100ms; none as long as it has not been fetched.
    pub has_metadata: Option<bool>,
    /// Whether it has ended: it left, dropped or was removed, or its session is over.
    pub has_ended: bool,
    /// Whether 100ms may be asked for the user's other peers in the room.
    pub may_check_ghosts: bool,
}

/// What to do about a new peer now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Fetch it, and decide again. With [`RestoreWhen::Always`], fetch the user's other peers in
    /// the room too: a ghost among them may have changed since it was last observed.
    Fetch,
    /// Send it the saved state.
    Restore,
    /// Send it nothing: it has metadata.
    Skip,
    /// The saved state is its own: restored already, or set by the player.
    AlreadyThere,
    /// Decide again later: what is missing may still be reported. The new peer often joins before
    /// that. Whoever has waited long enough gives up for this reason.
    Wait(GiveUpReason),
    /// Send it nothing, whatever is reported later.
    GiveUp(GiveUpReason),
}

impl RestorePolicy {
    /// Decides what to do about a new peer, given the user's saved state.
    ///
    /// Only what cannot change any more is final: a new peer that has ended, a peer that left or was
    /// removed, and an end at its own time outside the window. With [`RestoreWhen::Always`] nothing is before the ghosts
    /// were checked.
    pub fn decide(
        &self,
        state: Option<&SavedState>,
        new_peer: NewPeer<'_>,
        now: Timestamp,
    ) -> Decision {
        if state.is_some_and(|state| state.key == *new_peer.key) {
            return Decision::AlreadyThere;
        }
        if new_peer.has_ended {
            return Decision::GiveUp(GiveUpReason::PeerEnded);
        }
        let judged = match state {
            Some(state) => self.judge(state, new_peer.key, now),
            None => Decision::Wait(GiveUpReason::NothingSaved),
        };
        let checks_ghosts = self.when == RestoreWhen::Always && new_peer.may_check_ghosts;
        match (judged, new_peer.has_metadata) {
            (Decision::Restore, None) => Decision::Fetch,
            (Decision::Restore, Some(true)) => Decision::Skip,
            (_, None) if checks_ghosts => Decision::Fetch,
            (judged, _) => judged,
        }
    }

    /// When it is too late to restore this state; none where its peer has not ended.
    pub fn expires_at(&self, state: &SavedState) -> Option<Timestamp> {
        let PeerPresence { status, since, .. } = &state.presence.peer;
        match status {
            Status::Dropped | Status::Left | Status::Kicked => {
                since.map(|since| since.shifted(self.window))
            }
            // Their own end may still be reported.
            Status::Connected | Status::Unknown | Status::Ended => None,
        }
    }

    fn judge(&self, state: &SavedState, new_peer: &PeerKey, now: Timestamp) -> Decision {
        let is_over = |end: Option<Timestamp>| end.is_some_and(|end| now > end);
        let drop_only = self.when == RestoreWhen::Dropped;
        if drop_only && self.may_be_outdated(state, new_peer) {
            return Decision::Wait(GiveUpReason::NewerPeer);
        }
        match state.presence.peer.status {
            Status::Left if drop_only => Decision::GiveUp(GiveUpReason::Left),
            Status::Kicked if drop_only => Decision::GiveUp(GiveUpReason::Kicked),
            Status::Dropped | Status::Left | Status::Kicked => {
                if is_over(self.expires_at(state)) {
                    Decision::GiveUp(GiveUpReason::OutsideWindow)
                } else {
                    Decision::Restore
                }
            }
            Status::Connected | Status::Unknown | Status::Ended if drop_only => {
                Decision::Wait(GiveUpReason::DropNotReported)
            }
            // Without an end of its own, the window begins with the last observation. The end may
            // still be reported, and be later.
            Status::Connected | Status::Unknown | Status::Ended => {
                if is_over(Some(state.last_observed_at.shifted(self.window))) {
                    Decision::Wait(GiveUpReason::OutsideWindow)
                } else {
                    Decision::Restore
                }
            }
        }
    }

    /// Whether another connected peer of the user joined after the state's peer.
    ///
    /// It is most likely the ghost, whose leave event will report a newer state. Restoring the older
    /// one now would be wrong, which is worse than waiting.
    fn may_be_outdated(&self, state: &SavedState, new_peer: &PeerKey) -> bool {
        state.presence.connected_peers.iter().any(|peer| {
            let is = |key: &PeerKey| peer.room_id == key.room_id && peer.peer_id == key.peer_id;
            let counts = self.scope == RestoreScope::Any || peer.room_id == new_peer.room_id;
            counts && !is(new_peer) && !is(&state.key) && peer.joined_at >= state.joined_at
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::{
        ChangeId, ConnectedPeer, Metadata, PeerId, RoomId, SkipReason, UserId, UserPresence,
    };

    const WINDOW_SECONDS: i64 = 300;

    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_800_000_000 + second, 0)
            .unwrap()
            .into()
    }

    fn key(peer: &str) -> PeerKey {
        PeerKey::new(
            UserId::parse("player-7").unwrap(),
            RoomId::parse("room").unwrap(),
            PeerId::parse(peer).unwrap(),
        )
        .unwrap()
    }

    /// The state of the peer `old`, which joined at 10, was last observed at 50, and has had this
    /// status since 60.
    fn state(status: Status) -> SavedState {
        SavedState {
            key: key("old"),
            snapshot_id: Uuid::nil(),
            metadata: Metadata::from_text("hp 71"),
            change: ChangeId::from_uuid(Uuid::nil()),
            changed_at: at(50),
            name: None,
            role: None,
            joined_at: Some(at(10)),
            last_observed_at: at(50),
            presence: UserPresence {
                peer: PeerPresence {
                    status,
                    reason: None,
                    since: Some(at(60)),
                },
                connected_peers: Vec::new(),
            },
        }
    }

    fn policy(when: RestoreWhen) -> RestorePolicy {
        RestorePolicy {
            when,
            window: TimeDelta::seconds(WINDOW_SECONDS),
            scope: RestoreScope::Room,
        }
    }

    /// What is decided once the new peer was fetched.
    fn decide(
        when: RestoreWhen,
        state: &SavedState,
        has_metadata: bool,
        now: Timestamp,
    ) -> Decision {
        let new_peer = NewPeer {
            key: &key("new"),
            has_metadata: Some(has_metadata),
            has_ended: false,
            may_check_ghosts: true,
        };
        policy(when).decide(Some(state), new_peer, now)
    }

    /// What is decided before.
    fn decide_first(when: RestoreWhen, state: Option<&SavedState>, may_check: bool) -> Decision {
        let new_peer = NewPeer {
            key: &key("new"),
            has_metadata: None,
            has_ended: false,
            may_check_ghosts: may_check,
        };
        policy(when).decide(state, new_peer, at(70))
    }

    #[test]
    fn the_status_of_the_states_peer_decides() {
        use Decision::{GiveUp, Restore, Wait};
        use GiveUpReason::{DropNotReported, Kicked, Left};
        for (status, when_dropped, always) in [
            (Status::Dropped, Restore, Restore),
            (Status::Connected, Wait(DropNotReported), Restore),
            (Status::Unknown, Wait(DropNotReported), Restore),
            (Status::Ended, Wait(DropNotReported), Restore),
            (Status::Left, GiveUp(Left), Restore),
            (Status::Kicked, GiveUp(Kicked), Restore),
        ] {
            let state = state(status);
            assert_eq!(
                (
                    decide(RestoreWhen::Dropped, &state, false, at(70)),
                    decide(RestoreWhen::Always, &state, false, at(70))
                ),
                (when_dropped, always),
                "{status:?}"
            );
        }
    }

    #[test]
    fn the_window_begins_with_the_end_or_else_with_the_last_observation() {
        let outside = GiveUpReason::OutsideWindow;
        for (status, begins, after) in [
            (Status::Dropped, 60, Decision::GiveUp(outside)),
            (Status::Left, 60, Decision::GiveUp(outside)),
            (Status::Kicked, 60, Decision::GiveUp(outside)),
            (Status::Ended, 50, Decision::Wait(outside)),
            (Status::Connected, 50, Decision::Wait(outside)),
            (Status::Unknown, 50, Decision::Wait(outside)),
        ] {
            let state = state(status);
            for (now, expected) in [
                (begins + WINDOW_SECONDS, Decision::Restore),
                (begins + WINDOW_SECONDS + 1, after),
            ] {
                let decision = decide(RestoreWhen::Always, &state, false, at(now));
                assert_eq!(decision, expected, "{status:?} at {now}");
            }
        }
    }

    #[test]
    fn a_peer_that_was_last_observed_long_ago_is_waited_for_and_restored_after_its_drop() {
        let mut state = state(Status::Connected);
        let now = at(50_000);
        assert_eq!(
            decide(RestoreWhen::Dropped, &state, false, now),
            Decision::Wait(GiveUpReason::DropNotReported)
        );
        state.presence.peer.status = Status::Dropped;
        state.presence.peer.since = Some(at(49_999));
        for when in [RestoreWhen::Dropped, RestoreWhen::Always] {
            assert_eq!(decide(when, &state, false, now), Decision::Restore);
        }
    }

    #[test]
    fn always_judges_nothing_before_the_ghosts_were_checked() {
        let mut old = state(Status::Dropped);
        old.presence.peer.since = Some(at(-9_000));
        let outside = Decision::GiveUp(GiveUpReason::OutsideWindow);
        let nothing = Decision::Wait(GiveUpReason::NothingSaved);
        let (always, dropped) = (RestoreWhen::Always, RestoreWhen::Dropped);
        for (when, state, may_check, expected) in [
            (always, Some(&old), true, Decision::Fetch),
            (always, Some(&old), false, outside),
            (always, None, true, Decision::Fetch),
            (always, None, false, nothing),
            (dropped, Some(&old), true, outside),
            (dropped, None, true, nothing),
        ] {
            let decision = decide_first(when, state, may_check);
            assert_eq!(decision, expected, "{when:?}, {may_check}");
        }
        assert_eq!(decide(always, &old, false, at(70)), outside);
    }

    #[test]
    fn a_new_peer_is_fetched_before_anything_is_sent() {
        for when in [RestoreWhen::Dropped, RestoreWhen::Always] {
            let state = state(Status::Dropped);
            assert_eq!(decide_first(when, Some(&state), false), Decision::Fetch);
        }
    }

    #[test]
    fn a_new_peer_with_metadata_is_skipped_only_where_it_would_be_restored() {
        use Decision::{GiveUp, Skip, Wait};
        use GiveUpReason::{DropNotReported, Left, OutsideWindow};
        for (when, status, now, expected) in [
            (RestoreWhen::Dropped, Status::Dropped, 70, Skip),
            (RestoreWhen::Always, Status::Connected, 70, Skip),
            (
                RestoreWhen::Dropped,
                Status::Connected,
                70,
                Wait(DropNotReported),
            ),
            (RestoreWhen::Dropped, Status::Left, 70, GiveUp(Left)),
            (
                RestoreWhen::Dropped,
                Status::Dropped,
                900,
                GiveUp(OutsideWindow),
            ),
        ] {
            let decision = decide(when, &state(status), true, at(now));
            assert_eq!(decision, expected, "{when:?}, {status:?} at {now}");
        }
    }

    #[test]
    fn the_peers_own_state_is_there_already() {
        let old = key("old");
        let itself = NewPeer {
            key: &old,
            has_metadata: Some(true),
            has_ended: false,
            may_check_ghosts: true,
        };
        let state = state(Status::Connected);
        assert_eq!(
            policy(RestoreWhen::Dropped).decide(Some(&state), itself, at(9_000)),
            Decision::AlreadyThere
        );
    }

    #[test]
    fn it_expires_with_the_window_after_an_end_of_its_own() {
        for (status, expected) in [
            (Status::Dropped, Some(at(60 + WINDOW_SECONDS))),
            (Status::Left, Some(at(60 + WINDOW_SECONDS))),
            (Status::Kicked, Some(at(60 + WINDOW_SECONDS))),
            (Status::Ended, None),
            (Status::Connected, None),
            (Status::Unknown, None),
        ] {
            let policy = policy(RestoreWhen::Dropped);
            assert_eq!(policy.expires_at(&state(status)), expected, "{status:?}");
        }
    }

    #[test]
    fn a_request_is_skipped_for_the_states_own_peer_or_for_metadata_unless_it_overwrites() {
        let state = state(Status::Dropped);
        let has_metadata = Some(SkipReason::AlreadyHasMetadata);
        let same_peer = Some(SkipReason::SamePeer);
        for (peer, has, overwrite, expected) in [
            ("new", false, false, None),
            ("new", false, true, None),
            ("new", true, false, has_metadata),
            ("new", true, true, None),
            ("old", false, false, same_peer),
            ("old", true, true, same_peer),
        ] {
            assert_eq!(
                SkipReason::of_request(&state, &key(peer), has, overwrite),
                expected,
                "{peer}, {has}, {overwrite}"
            );
        }
    }

    #[test]
    fn a_new_peer_that_has_ended_gets_nothing() {
        for state in [
            None,
            Some(state(Status::Dropped)),
            Some(state(Status::Connected)),
        ] {
            for has_metadata in [None, Some(false), Some(true)] {
                let new_peer = NewPeer {
                    key: &key("new"),
                    has_metadata,
                    has_ended: true,
                    may_check_ghosts: true,
                };
                for when in [RestoreWhen::Dropped, RestoreWhen::Always] {
                    assert_eq!(
                        policy(when).decide(state.as_ref(), new_peer, at(70)),
                        Decision::GiveUp(GiveUpReason::PeerEnded)
                    );
                }
            }
        }
        let of_itself = NewPeer {
            key: &key("old"),
            has_metadata: None,
            has_ended: true,
            may_check_ghosts: true,
        };
        let state = state(Status::Dropped);
        let decision = policy(RestoreWhen::Dropped).decide(Some(&state), of_itself, at(70));
        assert_eq!(decision, Decision::AlreadyThere);
    }

    #[test]
    fn a_ghost_that_may_have_a_newer_state_is_waited_for() {
        use Decision::Restore;
        let wait = Decision::Wait(GiveUpReason::NewerPeer);
        for (peer, joined_at, expected) in [
            ("ghost", Some(20), wait),
            ("ghost", Some(10), wait),
            ("earlier", Some(5), Restore),
            ("no-join-time", None, Restore),
            ("new", Some(65), Restore),
            ("old", Some(10), Restore),
        ] {
            let mut state = state(Status::Dropped);
            state.presence.connected_peers.push(ConnectedPeer {
                peer_id: PeerId::parse(peer).unwrap(),
                room_id: RoomId::parse("room").unwrap(),
                joined_at: joined_at.map(at),
            });
            assert_eq!(
                (
                    decide(RestoreWhen::Dropped, &state, false, at(70)),
                    decide(RestoreWhen::Always, &state, false, at(70))
                ),
                (expected, Restore),
                "{peer} joined at {joined_at:?}"
            );
        }
    }

    #[test]
    fn a_peer_in_another_room_is_waited_for_where_states_go_to_any_room() {
        let mut state = state(Status::Dropped);
        state.presence.connected_peers.push(ConnectedPeer {
            peer_id: PeerId::parse("ghost").unwrap(),
            room_id: RoomId::parse("elsewhere").unwrap(),
            joined_at: Some(at(20)),
        });
        let wait = Decision::Wait(GiveUpReason::NewerPeer);
        for (scope, expected) in [
            (RestoreScope::Room, Decision::Restore),
            (RestoreScope::Any, wait),
        ] {
            let policy = RestorePolicy {
                scope,
                ..policy(RestoreWhen::Dropped)
            };
            let new_peer = NewPeer {
                key: &key("new"),
                has_metadata: Some(false),
                has_ended: false,
                may_check_ghosts: true,
            };
            let decision = policy.decide(Some(&state), new_peer, at(70));
            assert_eq!(decision, expected, "{scope:?}");
        }
    }
}
