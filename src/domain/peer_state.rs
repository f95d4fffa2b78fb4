//! The ordering rules: what one observation does to what is known of its peer.
//!
//! Pure code, no clock and no database: [`crate::store`] applies it between a versioned read and a conditional write, so
//! the outcome is the same through whichever replica. Which of a user's peers a resume returns is an index order in
//! `store::resume`, by the [`PeerState::metadata_changed_at`] decided here.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{
    Label, Metadata, Observation, PeerKey, Presence, Report, RestoreMark, Snapshot, Source,
    Timestamp, Tracks,
};

/// What is known of one peer: its newest row of history, and what older rows said that the newest did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerState {
    /// The row of history in force.
    pub snapshot_id: Uuid,
    /// When that row's content was first seen.
    pub first_observed_at: Timestamp,
    /// When that row's content was last seen. Every observation of this peer that is not newer is late.
    pub last_observed_at: Timestamp,
    /// Who told the content in force.
    pub source: Source,
    /// The metadata in force.
    pub metadata: Metadata,
    /// When the metadata last changed; none while the peer never had any. A resume returns the user's latest.
    pub metadata_changed_at: Option<Timestamp>,
    /// The display name in force. Never carried on, so that names that are no longer to be stored are not.
    pub name: Option<Label>,
    /// The last known role.
    pub role: Option<Label>,
    /// The last known tracks.
    pub tracks: Option<Tracks>,
    /// When the peer joined, as first told.
    pub joined_at: Option<Timestamp>,
    /// What was told of its presence.
    pub presence: Presence,
    /// The state that was last sent back to it.
    pub restored: Option<RestoreMark>,
}

/// What an observation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// New content: a row of history, and the state moves on.
    Changed,
    /// The same content at a later time: the row in force is extended.
    Extended,
    /// Not newer than the last one, and the row in force already says it: nothing to do.
    Repeated,
    /// Not newer than the last one: a row of history at its own time, unless a row there says the same; nothing else.
    OutOfOrder,
}

impl PeerState {
    /// Applies `seen` to what is known (`None`: a peer never seen), and says what that did.
    pub fn observe(known: Option<Self>, seen: &Observation) -> (Self, Effect) {
        let Some(known) = known else {
            return (Self::first(seen), Effect::Changed);
        };
        let same = known.has_content_of(seen);
        if seen.observed_at <= known.last_observed_at {
            let covered = same && seen.observed_at >= known.first_observed_at;
            return (
                known,
                if covered {
                    Effect::Repeated
                } else {
                    Effect::OutOfOrder
                },
            );
        }
        if same {
            let joined_at = known.joined_at.or(seen.joined_at);
            (
                Self {
                    last_observed_at: seen.observed_at,
                    joined_at,
                    ..known
                },
                Effect::Extended,
            )
        } else {
            (known.changed_by(seen), Effect::Changed)
        }
    }

    /// Applies `report` to the state before it (`None`: nothing is stored of the peer), and says
    /// what that did to the history. Presence and the restore mark may change without an effect on it.
    pub fn apply(known: Option<Self>, report: &Report) -> (Self, Effect) {
        let (mut state, mut effect) = match known {
            Some(known) if report.is_insert_only() => (known, Effect::Repeated),
            known => Self::observe(known, &report.observation()),
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

    /// The state of a peer of which nothing else is known.
    pub fn first(seen: &Observation) -> Self {
        Self {
            snapshot_id: snapshot_id(seen),
            first_observed_at: seen.observed_at,
            last_observed_at: seen.observed_at,
            source: seen.source,
            metadata: seen.metadata.clone(),
            metadata_changed_at: (!seen.metadata.is_empty()).then_some(seen.observed_at),
            name: seen.name.clone(),
            role: seen.role.clone(),
            tracks: seen.tracks.clone(),
            joined_at: seen.joined_at,
            presence: Presence::default(),
            restored: None,
        }
    }

    /// Whether a saved state may be restored to this peer: it is connected, and never had any of its own.
    pub fn can_be_restored_to(&self) -> bool {
        self.metadata_changed_at.is_none()
            && self.restored.is_none()
            && self.presence.ended.is_none()
    }

    fn changed_by(self, seen: &Observation) -> Self {
        // `""` and `null` both say "nothing set": going from one to the other is no change of metadata.
        let metadata_changed = seen.metadata != self.metadata
            && !(seen.metadata.is_empty() && self.metadata.is_empty());
        Self {
            metadata_changed_at: if metadata_changed {
                Some(self.change_seen_in(seen))
            } else {
                self.metadata_changed_at
            },
            role: seen.role.clone().or(self.role),
            tracks: seen.tracks.clone().or(self.tracks),
            joined_at: self.joined_at.or(seen.joined_at),
            presence: self.presence,
            restored: self.restored,
            ..Self::first(seen)
        }
    }

    /// When the metadata changed that is seen for the first time: then, unless it is what was sent back to a peer that has
    /// had no change of its own since. That state only moves here, with the time of its change.
    fn change_seen_in(&self, seen: &Observation) -> Timestamp {
        self.restored
            .filter(|mark| {
                self.metadata_changed_at
                    .is_none_or(|changed| changed < mark.at)
            })
            .filter(|mark| mark.matches(&seen.key.user_id, &seen.metadata))
            .map_or(seen.observed_at, |mark| mark.changed_at)
    }

    /// The row of history in force. It repeats what its source did not say of the role, but not the tracks, of which only
    /// the peer endpoint knows.
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

    /// Whether `seen` says nothing new. What it does not mention cannot differ.
    fn has_content_of(&self, seen: &Observation) -> bool {
        fn agrees<T: PartialEq>(seen: Option<&T>, known: Option<&T>) -> bool {
            seen.is_none() || seen == known
        }
        seen.metadata == self.metadata
            && agrees(seen.name.as_ref(), self.name.as_ref())
            && agrees(seen.role.as_ref(), self.role.as_ref())
            && agrees(seen.tracks.as_ref(), self.tracks.as_ref())
    }
}

/// The id of the row of history that this observation makes: a `UUIDv7` of its time whose random bits are a digest of the
/// peer, the time and the content.
///
/// The same observation has the same id through whichever replica and however often it comes, so that keeping it twice
/// is one row without a table of seen ids.
pub fn snapshot_id(seen: &Observation) -> Uuid {
    let mut digest = Sha256::new();
    let mut put = |part: Option<&[u8]>| {
        // Length-prefixed, so that no two different lists of parts are the same bytes.
        digest.update(
            part.map_or(u64::MAX, |bytes| bytes.len() as u64)
                .to_be_bytes(),
        );
        digest.update(part.unwrap_or_default());
    };
    let PeerKey {
        user_id,
        room_id,
        peer_id,
    } = &seen.key;
    let micros = seen.observed_at.to_utc().timestamp_micros();
    put(Some(user_id.as_str().as_bytes()));
    put(Some(room_id.as_str().as_bytes()));
    put(Some(peer_id.as_str().as_bytes()));
    put(Some(&micros.to_be_bytes()));
    put(seen.metadata.raw().map(str::as_bytes));
    put(seen.name.as_ref().map(|name| name.as_str().as_bytes()));
    put(seen.role.as_ref().map(|role| role.as_str().as_bytes()));
    put(seen
        .tracks
        .as_ref()
        .map(|tracks| tracks.as_str().as_bytes()));
    let random = digest.finalize()[..10]
        .try_into()
        .expect("a SHA-256 digest is longer than 10 bytes");
    uuid::Builder::from_unix_timestamp_millis(micros.max(0).unsigned_abs() / 1000, &random)
        .into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ChangeId, PeerId, RoomId, UserId};
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_800_000_000 + second, 0)
            .unwrap()
            .into()
    }

    fn seen(second: i64, metadata: &str) -> Observation {
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
    fn the_same_content_later_extends_and_keeps_the_time_of_the_change() {
        let (state, effects) = state_after(&[seen(1, "a"), seen(5, "a"), seen(9, "a")]);
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
    fn a_change_of_role_adds_history_but_is_no_change_of_metadata() {
        let moved = Observation {
            role: Some(Label::new("spectator")),
            ..seen(5, "a")
        };
        let (state, effects) = state_after(&[seen(1, "a"), moved]);
        assert_eq!(effects, [Effect::Changed, Effect::Changed]);
        assert_eq!(state.metadata_changed_at, Some(at(1)));
        assert_eq!(state.role, Some(Label::new("spectator")));
    }

    #[test]
    fn what_a_source_does_not_say_is_no_change_and_is_not_forgotten() {
        let silent = Observation {
            source: Source::Room,
            tracks: None,
            name: None,
            role: None,
            ..seen(5, "a")
        };
        let (state, effects) = state_after(&[seen(1, "a"), silent, seen(6, "a")]);
        assert_eq!(
            effects,
            [Effect::Changed, Effect::Extended, Effect::Extended]
        );
        assert_eq!(state.tracks, Tracks::from_wire("{}"));
    }

    #[test]
    fn never_set_is_nothing_and_set_then_empty_is_a_clear() {
        let none = Observation {
            metadata: Metadata::NONE,
            ..seen(3, "")
        };
        assert_eq!(
            state_after(&[seen(1, ""), none.clone()])
                .0
                .metadata_changed_at,
            None
        );
        let (state, _) = state_after(&[seen(1, "a"), seen(2, ""), none]);
        assert_eq!(
            state.metadata_changed_at,
            Some(at(2)),
            "from empty to null is no further change"
        );
        assert!(state.metadata.is_empty());
    }

    #[test]
    fn an_older_sight_changes_nothing_but_history() {
        let (newest, _) = state_after(&[seen(1, "a"), seen(5, "b")]);
        for (late, effect) in [
            (seen(3, "c"), Effect::OutOfOrder),
            (seen(5, "c"), Effect::OutOfOrder),
            (seen(3, "b"), Effect::OutOfOrder),
            (seen(5, "b"), Effect::Repeated),
        ] {
            assert_eq!(
                PeerState::observe(Some(newest.clone()), &late),
                (newest.clone(), effect)
            );
        }
    }

    /// The peer was seen empty at 3, is marked at 5, and what is sent changed to `a` at 1, on another peer.
    fn marked() -> PeerState {
        let key = seen(0, "").key;
        let change = ChangeId::of(&key.user_id, at(1), &Metadata::from_text("a"));
        let mark = RestoreMark {
            at: at(5),
            change,
            changed_at: at(1),
        };
        let report = Report::Restoring {
            key,
            observed_at: at(3),
            mark,
        };
        PeerState::apply(Some(PeerState::first(&seen(3, ""))), &report).0
    }

    #[test]
    fn what_was_sent_back_moves_the_state_and_is_no_change() {
        let (state, effect) = PeerState::observe(Some(marked()), &seen(6, "a"));
        assert_eq!(
            (state.metadata_changed_at, effect),
            (Some(at(1)), Effect::Changed)
        );
        let (state, _) = PeerState::observe(Some(state), &seen(7, "b"));
        assert_eq!(
            state.metadata_changed_at,
            Some(at(7)),
            "the player's own change"
        );
        let (state, _) = PeerState::observe(Some(state), &seen(8, "a"));
        assert_eq!(
            state.metadata_changed_at,
            Some(at(8)),
            "a change back is the player's too"
        );
        let (other, _) = PeerState::observe(Some(marked()), &seen(6, "c"));
        assert_eq!(other.metadata_changed_at, Some(at(6)), "not what was sent");
    }

    #[test]
    fn what_was_sent_back_and_then_emptied_is_a_clear() {
        let (state, _) = PeerState::observe(Some(marked()), &seen(6, "a"));
        let (state, _) = PeerState::observe(Some(state), &seen(7, ""));
        assert_eq!(state.metadata_changed_at, Some(at(7)));
    }

    #[test]
    fn a_sight_that_an_update_overtook_is_no_clear() {
        let answered = Report::Restored {
            observation: seen(6, "a"),
            valid_until: at(8),
        };
        let (state, effect) = PeerState::apply(Some(marked()), &answered);
        assert_eq!((effect, state.last_observed_at), (Effect::Changed, at(8)));
        // Sent before the update was answered, and served before it took effect.
        assert_eq!(
            PeerState::observe(Some(state.clone()), &seen(7, "")),
            (state.clone(), Effect::OutOfOrder)
        );
        // The update's answer came after a sight that is newer than it: then that one counts.
        let (newer, _) = PeerState::observe(Some(marked()), &seen(7, "b"));
        assert_eq!(
            PeerState::apply(Some(newer.clone()), &answered),
            (newer, Effect::OutOfOrder)
        );
    }

    #[test]
    fn the_same_observation_is_the_same_row_and_another_is_another() {
        let one = seen(1, "a");
        assert_eq!(snapshot_id(&one), snapshot_id(&one.clone()));
        assert_eq!(snapshot_id(&one).get_version_num(), 7);
        let others = [
            seen(2, "a"),
            seen(1, "b"),
            Observation {
                metadata: Metadata::NONE,
                ..one.clone()
            },
            Observation {
                name: None,
                ..one.clone()
            },
            Observation {
                tracks: None,
                ..one.clone()
            },
            Observation {
                key: PeerKey {
                    peer_id: PeerId::parse("other").unwrap(),
                    ..one.key.clone()
                },
                ..one.clone()
            },
        ];
        assert!(
            others
                .iter()
                .all(|other| snapshot_id(other) != snapshot_id(&one))
        );
    }

    proptest! {
        /// In whatever order the sights of one peer arrive, its newest sight wins, and its times never run backwards.
        #[test]
        fn arrival_order_never_moves_a_peer_back(sights in prop::collection::vec((0i64..20, 0u8..3), 1..30)) {
            let mut state: Option<PeerState> = None;
            for (second, content) in &sights {
                let observation = seen(*second, ["", "a", "b"][usize::from(*content)]);
                let (after, effect) = PeerState::observe(state.clone(), &observation);
                if let Some(before) = &state {
                    prop_assert!(after.last_observed_at >= before.last_observed_at);
                    prop_assert!(after.metadata_changed_at >= before.metadata_changed_at);
                    let moved = matches!(effect, Effect::Changed | Effect::Extended);
                    prop_assert_eq!(moved, observation.observed_at > before.last_observed_at);
                    prop_assert!(moved || &after == before);
                }
                prop_assert!(after.first_observed_at <= after.last_observed_at);
                state = Some(after);
            }
            let newest = sights.iter().map(|(second, _)| *second).max().unwrap();
            prop_assert_eq!(state.unwrap().last_observed_at, at(newest));
        }
    }
}
