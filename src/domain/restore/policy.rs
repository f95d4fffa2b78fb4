//! The policy of automatic restores: whether a saved state is sent to a peer that has just joined.

use chrono::TimeDelta;

use super::SkipReason;
use crate::domain::{PeerKey, PeerPresence, SavedState, Status, Timestamp};

/// Which saved states are restored automatically, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestorePolicy {
    /// Which states.
    pub when: RestoreWhen,
    /// For how long after the end of the state's peer.
    /// Where no end was reported, for how long after the peer was last observed.
    pub window: TimeDelta,
}

/// Which saved states are restored automatically.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreWhen {
    /// Those of peers that dropped.
    Dropped,
    /// All.
    Always,
}

/// The peer that has just joined.
#[derive(Debug, Clone, Copy)]
pub struct NewPeer<'a> {
    /// Its key.
    pub key: &'a PeerKey,
    /// Whether it has metadata at 100ms. `false` as long as it has not been fetched.
    pub has_metadata: bool,
}

/// What to do about a new peer now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Send it the saved state.
    Restore,
    /// Send it nothing, and record why.
    Skip(SkipReason),
    /// The saved state is its own: restored already, or set by the player.
    AlreadyThere,
    /// Decide again later: a state, or the drop of the state's peer, may still be reported.
    /// The new peer often joins before that.
    Wait,
    /// Send it nothing: the state is too old, or its peer ended in another way than by a drop.
    GiveUp,
}

impl RestorePolicy {
    /// Decides what to do about a new peer, given the user's saved state.
    pub fn decide(
        &self,
        state: Option<&SavedState>,
        new_peer: NewPeer<'_>,
        now: Timestamp,
    ) -> Decision {
        let Some(state) = state else {
            return Decision::Wait;
        };
        if state.key == *new_peer.key {
            return Decision::AlreadyThere;
        }
        if self.when == RestoreWhen::Dropped && may_be_outdated(state, new_peer.key) {
            return Decision::Wait;
        }
        if now > last_active_at(state).shifted(self.window) {
            return Decision::GiveUp;
        }
        match (self.when, state.presence.peer.status) {
            (RestoreWhen::Always, _) | (RestoreWhen::Dropped, Status::Dropped) => {
                if new_peer.has_metadata {
                    Decision::Skip(SkipReason::AlreadyHasMetadata)
                } else {
                    Decision::Restore
                }
            }
            (RestoreWhen::Dropped, Status::Connected | Status::Unknown) => Decision::Wait,
            (RestoreWhen::Dropped, Status::Left | Status::Kicked | Status::Ended) => {
                Decision::GiveUp
            }
        }
    }
}

/// When the state's peer ended; where no end was reported, when it was last observed.
fn last_active_at(state: &SavedState) -> Timestamp {
    let PeerPresence { status, since, .. } = &state.presence.peer;
    match status {
        Status::Dropped | Status::Left | Status::Kicked | Status::Ended => {
            since.unwrap_or(state.last_observed_at)
        }
        Status::Connected | Status::Unknown => state.last_observed_at,
    }
}

/// Whether another connected peer of the user joined after the state's peer.
///
/// It is most likely the ghost, whose leave event will report a newer state. Restoring the older
/// one now would be wrong, which is worse than waiting.
fn may_be_outdated(state: &SavedState, new_peer: &PeerKey) -> bool {
    state.presence.connected_peers.iter().any(|peer| {
        let is = |key: &PeerKey| peer.room_id == key.room_id && peer.peer_id == key.peer_id;
        !is(new_peer) && !is(&state.key) && peer.joined_at >= state.joined_at
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::{ChangeId, ConnectedPeer, Metadata, PeerId, RoomId, UserId, UserPresence};

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

    fn decide(
        when: RestoreWhen,
        state: &SavedState,
        has_metadata: bool,
        now: Timestamp,
    ) -> Decision {
        let policy = RestorePolicy {
            when,
            window: TimeDelta::seconds(WINDOW_SECONDS),
        };
        let new_peer = NewPeer {
            key: &key("new"),
            has_metadata,
        };
        policy.decide(Some(state), new_peer, now)
    }

    #[test]
    fn the_status_of_the_states_peer_decides() {
        use Decision::{GiveUp, Restore, Wait};
        for (status, when_dropped, always) in [
            (Status::Dropped, Restore, Restore),
            (Status::Connected, Wait, Restore),
            (Status::Unknown, Wait, Restore),
            (Status::Left, GiveUp, Restore),
            (Status::Kicked, GiveUp, Restore),
            (Status::Ended, GiveUp, Restore),
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
        for (status, begins) in [
            (Status::Dropped, 60),
            (Status::Left, 60),
            (Status::Kicked, 60),
            (Status::Ended, 60),
            (Status::Connected, 50),
            (Status::Unknown, 50),
        ] {
            let state = state(status);
            for (now, expected) in [
                (begins + WINDOW_SECONDS, Decision::Restore),
                (begins + WINDOW_SECONDS + 1, Decision::GiveUp),
            ] {
                let decision = decide(RestoreWhen::Always, &state, false, at(now));
                assert_eq!(decision, expected, "{status:?} at {now}");
            }
        }
    }

    #[test]
    fn a_new_peer_with_metadata_is_skipped_only_where_it_would_be_restored() {
        let skip = Decision::Skip(SkipReason::AlreadyHasMetadata);
        for (when, status, now, expected) in [
            (RestoreWhen::Dropped, Status::Dropped, 70, skip),
            (RestoreWhen::Always, Status::Connected, 70, skip),
            (RestoreWhen::Dropped, Status::Connected, 70, Decision::Wait),
            (RestoreWhen::Dropped, Status::Left, 70, Decision::GiveUp),
            (RestoreWhen::Dropped, Status::Dropped, 900, Decision::GiveUp),
        ] {
            let decision = decide(when, &state(status), true, at(now));
            assert_eq!(decision, expected, "{when:?}, {status:?} at {now}");
        }
    }

    #[test]
    fn without_a_state_it_waits_and_the_peers_own_state_is_there_already() {
        let policy = RestorePolicy {
            when: RestoreWhen::Dropped,
            window: TimeDelta::seconds(WINDOW_SECONDS),
        };
        let old = key("old");
        let itself = NewPeer {
            key: &old,
            has_metadata: true,
        };
        assert_eq!(policy.decide(None, itself, at(70)), Decision::Wait);
        let state = state(Status::Connected);
        assert_eq!(
            policy.decide(Some(&state), itself, at(9_000)),
            Decision::AlreadyThere
        );
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
    fn a_ghost_that_may_have_a_newer_state_is_waited_for() {
        use Decision::{Restore, Wait};
        for (peer, joined_at, expected) in [
            ("ghost", Some(20), Wait),
            ("ghost", Some(10), Wait),
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
}
