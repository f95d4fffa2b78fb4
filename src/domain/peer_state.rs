//! The ordering rules: how a report changes the state of its peer.
//!
//! Pure code, without a clock or a database. [`crate::store`] applies it between a versioned read
//! and a conditional write, so the result is the same through whichever replica. Which of a user's
//! peers a resume returns is an index order in `store::resume`, by the
//! [`PeerState::metadata_changed_at`] that is decided here.

use uuid::Uuid;

use super::{
    Label, Metadata, Observation, PeerKey, Presence, Report, RestoreMark, Snapshot, Source,
    Timestamp, Tracks, snapshot_id,
};

/// What is stored of one peer: its current snapshot, and what earlier ones said that the current
/// one does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerState {
    /// The current snapshot.
    pub snapshot_id: Uuid,
    /// When the content of the current snapshot was first observed.
    pub first_observed_at: Timestamp,
    /// When the content of the current snapshot was last observed.
    /// An observation of this peer that is not newer is out of order.
    pub last_observed_at: Timestamp,
    /// Where the current content comes from.
    pub source: Source,
    /// The current metadata.
    pub metadata: Metadata,
    /// When the metadata last changed; none while the peer never had any.
    /// A resume returns the user's latest.
    pub metadata_changed_at: Option<Timestamp>,
    /// The current display name. It is never taken over from an earlier snapshot, so that names
    /// disappear once they are no longer to be stored.
    pub name: Option<Label>,
    /// The last known role.
    pub role: Option<Label>,
    /// The last known tracks.
    pub tracks: Option<Tracks>,
    /// When the peer joined, as first reported.
    pub joined_at: Option<Timestamp>,
    /// Whether it is connected, as reported so far.
    pub presence: Presence,
    /// The mark of the saved state that was last sent to it.
    pub restored: Option<RestoreMark>,
}

/// What an observation does to the history of its peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Its content is new: it makes a snapshot, which becomes the current one.
    Changed,
    /// The same content at a later time: it extends the current snapshot.
    Extended,
    /// It is not newer than the last one, and the current snapshot covers it: it does nothing.
    Repeated,
    /// It is not newer than the last one, and the current snapshot does not cover it: it makes a
    /// snapshot at its own time, unless one there has the same content. The state stays.
    OutOfOrder,
}

impl PeerState {
    /// Applies `report` to the state before it (`None`: nothing is stored of the peer), and says
    /// what that does to the history. Presence and the restore mark may change regardless.
    pub fn apply(before: Option<Self>, report: &Report) -> (Self, Effect) {
        let (mut state, mut effect) = match before {
            Some(before) if report.is_insert_only() => (before, Effect::Repeated),
            before => Self::observe(before, &report.observation()),
        };
        match report {
            Report::Observed(_) => {}
            Report::Event(event) => state.presence = state.presence.merged(&event.presence),
            Report::Restoring { mark, .. } => state.restored = Some(*mark),
            Report::Restored { valid_until, .. } => {
                if effect != Effect::OutOfOrder && *valid_until > state.last_observed_at {
                    state.last_observed_at = *valid_until;
                    if effect == Effect::Repeated {
                        effect = Effect::Extended;
                    }
                }
            }
        }
        state.presence = state.presence.as_of(state.last_observed_at);
        (state, effect)
    }

    /// Applies an observation to the content. Presence and the restore mark stay.
    fn observe(before: Option<Self>, observation: &Observation) -> (Self, Effect) {
        let Some(before) = before else {
            return (Self::first(observation), Effect::Changed);
        };
        let is_same = before.has_content_of(observation);
        if observation.observed_at <= before.last_observed_at {
            let is_covered = is_same && observation.observed_at >= before.first_observed_at;
            let effect = if is_covered {
                Effect::Repeated
            } else {
                Effect::OutOfOrder
            };
            (before, effect)
        } else if is_same {
            let state = Self {
                last_observed_at: observation.observed_at,
                joined_at: before.joined_at.or(observation.joined_at),
                ..before
            };
            (state, Effect::Extended)
        } else {
            (before.changed_by(observation), Effect::Changed)
        }
    }

    /// The state of a peer of which there is one observation.
    pub fn first(observation: &Observation) -> Self {
        let metadata_changed_at = if observation.metadata.is_empty() {
            None
        } else {
            Some(observation.observed_at)
        };
        Self {
            snapshot_id: snapshot_id(observation),
            first_observed_at: observation.observed_at,
            last_observed_at: observation.observed_at,
            source: observation.source,
            metadata: observation.metadata.clone(),
            metadata_changed_at,
            name: observation.name.clone(),
            role: observation.role.clone(),
            tracks: observation.tracks.clone(),
            joined_at: observation.joined_at,
            presence: Presence::default(),
            restored: None,
        }
    }

    /// Whether a saved state may be restored to this peer: it is connected, and never had one of
    /// its own.
    pub fn can_be_restored_to(&self) -> bool {
        self.metadata_changed_at.is_none()
            && self.restored.is_none()
            && self.presence.ended.is_none()
    }

    /// The current snapshot. It repeats the role where its source does not mention it, but not the
    /// tracks, which only the peer endpoint knows.
    pub fn snapshot(&self, key: &PeerKey) -> Snapshot {
        Snapshot {
            id: self.snapshot_id,
            key: key.clone(),
            name: self.name.clone(),
            role: self.role.clone(),
            metadata: self.metadata.clone(),
            tracks: self.tracks.clone().filter(|_| self.source == Source::Peer),
            joined_at: self.joined_at,
            first_observed_at: self.first_observed_at,
            last_observed_at: self.last_observed_at,
            source: self.source,
        }
    }

    /// The state after a newer observation of other content.
    fn changed_by(self, observation: &Observation) -> Self {
        // `""` and `null` both mean that nothing is set, so neither is a change of the other.
        let metadata_changed = observation.metadata != self.metadata
            && !(observation.metadata.is_empty() && self.metadata.is_empty());
        let metadata_changed_at = if metadata_changed {
            Some(self.time_of_change(observation))
        } else {
            self.metadata_changed_at
        };
        Self {
            metadata_changed_at,
            role: observation.role.clone().or(self.role),
            tracks: observation.tracks.clone().or(self.tracks),
            joined_at: self.joined_at.or(observation.joined_at),
            presence: self.presence,
            restored: self.restored,
            ..Self::first(observation)
        }
    }

    /// When the metadata changed that is observed for the first time. A change is dated by its
    /// first observation. A state that was sent to this peer, and that no change of its own has
    /// replaced since, moves here with the time of its change.
    fn time_of_change(&self, observation: &Observation) -> Timestamp {
        match self.restored {
            Some(mark)
                if self.metadata_changed_at < Some(mark.at)
                    && mark.matches(&observation.key.user_id, &observation.metadata) =>
            {
                mark.changed_at
            }
            _ => observation.observed_at,
        }
    }

    /// Whether the observation says nothing new. What it does not mention cannot differ.
    fn has_content_of(&self, observation: &Observation) -> bool {
        fn agrees<T: PartialEq>(observed: Option<&T>, known: Option<&T>) -> bool {
            observed.is_none() || observed == known
        }
        observation.metadata == self.metadata
            && agrees(observation.name.as_ref(), self.name.as_ref())
            && agrees(observation.role.as_ref(), self.role.as_ref())
            && agrees(observation.tracks.as_ref(), self.tracks.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{ChangeId, PeerId, RoomId, UserId};

    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_800_000_000 + second, 0)
            .unwrap()
            .into()
    }

    fn observation(second: i64, metadata: &str) -> Observation {
        let key = PeerKey::new(
            UserId::parse("player-7").unwrap(),
            RoomId::parse("room").unwrap(),
            PeerId::parse("peer").unwrap(),
        );
        Observation {
            key: key.unwrap(),
            observed_at: at(second),
            source: Source::Peer,
            metadata: Metadata::from_text(metadata),
            name: Some(Label::new("seven")),
            role: Some(Label::new("player")),
            tracks: Tracks::from_wire("{}"),
            joined_at: Some(at(0)),
        }
    }

    fn state_after(observations: &[Observation]) -> (PeerState, Vec<Effect>) {
        let (mut state, mut effects) = (None, Vec::new());
        for observation in observations {
            let (after, effect) = PeerState::observe(state, observation);
            effects.push(effect);
            state = Some(after);
        }
        (state.unwrap(), effects)
    }

    #[test]
    fn the_same_content_later_extends_the_snapshot_and_is_no_change() {
        let (state, effects) = state_after(&[
            observation(1, "a"),
            observation(5, "a"),
            observation(9, "a"),
        ]);
        assert_eq!(
            effects,
            [Effect::Changed, Effect::Extended, Effect::Extended]
        );
        assert_eq!(
            (state.first_observed_at, state.last_observed_at),
            (at(1), at(9))
        );
        assert_eq!(state.metadata_changed_at, Some(at(1)));
    }

    #[test]
    fn another_role_makes_a_snapshot_but_is_no_change_of_metadata() {
        let spectator = Observation {
            role: Some(Label::new("spectator")),
            ..observation(5, "a")
        };
        let (state, effects) = state_after(&[observation(1, "a"), spectator]);
        assert_eq!(effects, [Effect::Changed, Effect::Changed]);
        assert_eq!(state.metadata_changed_at, Some(at(1)));
        assert_eq!(state.role, Some(Label::new("spectator")));
    }

    #[test]
    fn what_a_source_does_not_mention_stays_and_is_no_change() {
        let without_details = Observation {
            source: Source::Room,
            tracks: None,
            name: None,
            role: None,
            ..observation(5, "a")
        };
        let (state, effects) =
            state_after(&[observation(1, "a"), without_details, observation(6, "a")]);
        assert_eq!(
            effects,
            [Effect::Changed, Effect::Extended, Effect::Extended]
        );
        assert_eq!(state.tracks, Tracks::from_wire("{}"));
    }

    #[test]
    fn the_metadata_changes_when_it_is_set_or_cleared_and_not_from_empty_to_null() {
        let null = |second| Observation {
            metadata: Metadata::NONE,
            ..observation(second, "")
        };
        for (observations, changed_at) in [
            (vec![observation(1, "")], None),
            (vec![observation(1, ""), null(2)], None),
            (vec![null(1), observation(2, "a")], Some(at(2))),
            (vec![observation(1, "a"), observation(2, "")], Some(at(2))),
            (vec![observation(1, "a"), null(2)], Some(at(2))),
            (
                vec![observation(1, "a"), observation(2, ""), null(3)],
                Some(at(2)),
            ),
        ] {
            let (state, _) = state_after(&observations);
            assert_eq!(state.metadata_changed_at, changed_at, "{observations:?}");
        }
    }

    #[test]
    fn an_older_observation_changes_the_history_only() {
        let (newest, _) = state_after(&[observation(1, "a"), observation(5, "b")]);
        for (second, metadata, effect) in [
            (3, "c", Effect::OutOfOrder),
            (5, "c", Effect::OutOfOrder),
            (3, "b", Effect::OutOfOrder),
            (5, "b", Effect::Repeated),
        ] {
            assert_eq!(
                PeerState::observe(Some(newest.clone()), &observation(second, metadata)),
                (newest.clone(), effect),
                "{metadata} at {second}"
            );
        }
    }

    /// A peer that was observed empty at 3 and is marked at 5. The state that is sent to it changed
    /// to `a` at 1, on another peer.
    fn marked() -> PeerState {
        let empty = observation(3, "");
        let user_id = &empty.key.user_id;
        let restoring = Report::Restoring {
            key: empty.key.clone(),
            observed_at: at(3),
            mark: RestoreMark {
                at: at(5),
                change: ChangeId::of(user_id, at(1), &Metadata::from_text("a")),
                changed_at: at(1),
            },
        };
        PeerState::apply(Some(PeerState::first(&empty)), &restoring).0
    }

    #[test]
    fn a_restored_state_keeps_the_time_of_its_change_until_the_player_changes_it() {
        for (observations, changed_at) in [
            (&[(6, "a")][..], at(1)),
            (&[(6, "a"), (7, "b")], at(7)),
            (&[(6, "a"), (7, "b"), (8, "a")], at(8)),
            (&[(6, "a"), (7, "")], at(7)),
            (&[(6, "c")], at(6)),
        ] {
            let mut state = marked();
            for (second, metadata) in observations {
                let (after, effect) =
                    PeerState::observe(Some(state), &observation(*second, metadata));
                assert_eq!(effect, Effect::Changed);
                state = after;
            }
            assert_eq!(
                state.metadata_changed_at,
                Some(changed_at),
                "{observations:?}"
            );
        }
    }

    #[test]
    fn an_observation_made_while_a_restore_was_answered_does_not_undo_it() {
        let restored = Report::Restored {
            observation: observation(6, "a"),
            valid_until: at(8),
        };
        let (state, effect) = PeerState::apply(Some(marked()), &restored);
        assert_eq!((effect, state.last_observed_at), (Effect::Changed, at(8)));
        // Its request was sent before the restore was answered, and may have been served before the
        // restore took effect.
        assert_eq!(
            PeerState::observe(Some(state.clone()), &observation(7, "")),
            (state, Effect::OutOfOrder)
        );
        // An answer that is itself older than the last observation changes nothing.
        let (newer, _) = PeerState::observe(Some(marked()), &observation(7, "b"));
        assert_eq!(
            PeerState::apply(Some(newer.clone()), &restored),
            (newer, Effect::OutOfOrder)
        );
    }

    proptest! {
        /// In whatever order the observations of one peer arrive, the newest wins, and the times of
        /// the state never go back.
        #[test]
        fn the_order_of_arrival_never_sets_a_peer_back(
            arrivals in prop::collection::vec((0i64..20, 0u8..3), 1..30)
        ) {
            let mut state: Option<PeerState> = None;
            for (second, content) in &arrivals {
                let observation = observation(*second, ["", "a", "b"][usize::from(*content)]);
                let (after, effect) = PeerState::observe(state.clone(), &observation);
                if let Some(before) = &state {
                    prop_assert!(after.last_observed_at >= before.last_observed_at);
                    prop_assert!(after.metadata_changed_at >= before.metadata_changed_at);
                    let advanced = matches!(effect, Effect::Changed | Effect::Extended);
                    prop_assert_eq!(advanced, observation.observed_at > before.last_observed_at);
                    prop_assert!(advanced || &after == before);
                }
                prop_assert!(after.first_observed_at <= after.last_observed_at);
                state = Some(after);
            }
            let newest = arrivals.iter().map(|(second, _)| *second).max().unwrap();
            prop_assert_eq!(state.unwrap().last_observed_at, at(newest));
        }
    }
}
