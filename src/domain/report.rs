//! Reports: the messages about a peer that change its state.

use std::borrow::Cow;

use uuid::Uuid;

use super::{
    Label, LeaveMetadata, Metadata, NewForward, Observation, PeerKey, Presence, RestoreMark, Rules,
    Source, Timestamp, WatchInterval,
};

/// One message about a peer on its way into the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// An answer of the REST API describes the peer.
    Observed(Observation),
    /// A look at all peers of a room describes the peer. As [`Report::Observed`], but of no interest
    /// where the same was observed a moment before.
    Looked(Observation),
    /// A webhook event describes the peer.
    Event(EventReport),
    /// A saved state is about to be sent to the peer.
    Restoring {
        /// The peer.
        key: PeerKey,
        /// What is sent.
        mark: RestoreMark,
    },
    /// 100ms refused a restore: the saved state was not sent after all.
    NotRestored {
        /// The peer.
        key: PeerKey,
        /// What was to be sent.
        mark: RestoreMark,
    },
    /// 100ms answered a restore with the peer as it is now.
    Restored {
        /// The peer in the answer, dated when the request was sent.
        observation: Observation,
        /// When the answer came.
        answered_at: Timestamp,
    },
}

/// What happened to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It joined.
    Join,
    /// It left.
    Leave,
    /// Its role changed.
    RoleChange,
}

/// What a webhook event says of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventReport {
    /// The peer.
    pub key: PeerKey,
    /// What happened.
    pub kind: EventKind,
    /// When the event happened.
    pub at: Timestamp,
    /// The exact metadata; none where the event has none that can be stored.
    /// Then it only makes the peer known.
    pub metadata: Option<Metadata>,
    /// The display name.
    pub name: Option<Label>,
    /// The role.
    pub role: Option<Label>,
    /// When the peer joined.
    pub joined_at: Option<Timestamp>,
    /// Whether the peer is connected.
    pub presence: Presence,
    /// When the event asked for a restore: the saved state is to be sent to the peer if it has none
    /// of its own.
    pub restore_requested_at: Option<Timestamp>,
    /// Whether the event may cause a fetch, or begin the watch of its room.
    pub watch: Option<WatchRequest>,
    /// The event itself, where it is passed on.
    pub forward: Option<Box<NewForward>>,
}

/// What an event asks of watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchRequest {
    /// What happened: a join or a role change.
    pub kind: EventKind,
    /// When.
    pub at: Timestamp,
    /// How often its room is looked at if this begins its watch; none where it begins none.
    pub starts: Option<WatchInterval>,
}

impl EventReport {
    /// An event that says nothing but that the peer exists.
    pub fn new(key: PeerKey, kind: EventKind, at: Timestamp) -> Self {
        Self {
            key,
            kind,
            at,
            metadata: None,
            name: None,
            role: None,
            joined_at: None,
            presence: Presence::default(),
            restore_requested_at: None,
            watch: None,
            forward: None,
        }
    }

    /// A digest of the metadata that a join says, where it says any.
    pub(super) fn join_metadata(&self, rules: &Rules) -> Option<Uuid> {
        let metadata = self
            .metadata
            .as_ref()
            .filter(|metadata| !rules.is_empty(metadata))?;
        let counts =
            self.kind == EventKind::Join && rules.leave_metadata == LeaveMetadata::Cautious;
        counts.then(|| metadata.digest())
    }

    fn observation(&self) -> Option<Observation> {
        Some(Observation {
            key: self.key.clone(),
            observed_at: self.at,
            source: Source::Webhook,
            metadata: self.metadata.clone()?,
            name: self.name.clone(),
            role: self.role.clone(),
            tracks: None,
            joined_at: self.joined_at,
        })
    }
}

impl Report {
    /// The peer.
    pub fn key(&self) -> &PeerKey {
        match self {
            Self::Observed(observation)
            | Self::Looked(observation)
            | Self::Restored { observation, .. } => &observation.key,
            Self::Event(event) => &event.key,
            Self::Restoring { key, .. } | Self::NotRestored { key, .. } => key,
        }
    }

    /// The observation of metadata in it; none where it says nothing of that.
    pub fn observation(&self) -> Option<Cow<'_, Observation>> {
        match self {
            Self::Observed(observation)
            | Self::Looked(observation)
            | Self::Restored { observation, .. } => Some(Cow::Borrowed(observation)),
            Self::Event(event) => event.observation().map(Cow::Owned),
            Self::Restoring { .. } | Self::NotRestored { .. } => None,
        }
    }

    /// When the peer joined, if it says so.
    pub fn joined_at(&self) -> Option<Timestamp> {
        match self {
            Self::Observed(observation)
            | Self::Looked(observation)
            | Self::Restored { observation, .. } => observation.joined_at,
            Self::Event(event) => event.joined_at,
            Self::Restoring { .. } | Self::NotRestored { .. } => None,
        }
    }

    /// The latest time that it names.
    pub fn latest_at(&self) -> Timestamp {
        let (at, others) = match self {
            Self::Observed(observation) | Self::Looked(observation) => {
                (observation.observed_at, [observation.joined_at, None, None])
            }
            Self::Restored {
                observation,
                answered_at,
            } => (*answered_at, [observation.joined_at, None, None]),
            Self::Event(event) => {
                let ended_at = event.presence.ended.as_ref().map(|end| end.at);
                let connected_since = event.presence.connected_since;
                (event.at, [event.joined_at, connected_since, ended_at])
            }
            Self::Restoring { mark, .. } | Self::NotRestored { mark, .. } => {
                (mark.at, [None, None, None])
            }
        };
        others.into_iter().flatten().fold(at, Timestamp::max)
    }

    /// Whether this is most likely the first report of its peer: the event of its join.
    pub fn is_first_of_its_peer(&self) -> bool {
        match self {
            Self::Event(event) => {
                event.presence.ended.is_none() && event.presence.connected_since == Some(event.at)
            }
            Self::Observed(_)
            | Self::Looked(_)
            | Self::Restoring { .. }
            | Self::NotRestored { .. }
            | Self::Restored { .. } => false,
        }
    }

    /// When a restore to the peer was requested.
    pub fn restore_requested_at(&self) -> Option<Timestamp> {
        match self {
            Self::Event(event) => event.restore_requested_at,
            Self::Observed(_)
            | Self::Looked(_)
            | Self::Restoring { .. }
            | Self::NotRestored { .. }
            | Self::Restored { .. } => None,
        }
    }

    /// What it asks of watches.
    pub fn watch_request(&self) -> Option<WatchRequest> {
        match self {
            Self::Event(event) => event.watch,
            Self::Observed(_)
            | Self::Looked(_)
            | Self::Restoring { .. }
            | Self::NotRestored { .. }
            | Self::Restored { .. } => None,
        }
    }

    /// The event to pass on.
    pub fn forward(&self) -> Option<&NewForward> {
        match self {
            Self::Event(event) => event.forward.as_deref(),
            Self::Observed(_)
            | Self::Looked(_)
            | Self::Restoring { .. }
            | Self::NotRestored { .. }
            | Self::Restored { .. } => None,
        }
    }

    /// The size of all texts in it, in bytes.
    pub fn size(&self) -> usize {
        let labels = |labels: [&Option<Label>; 2]| -> usize {
            labels.into_iter().flatten().map(Label::size).sum()
        };
        let content = match self {
            Self::Observed(observation)
            | Self::Looked(observation)
            | Self::Restored { observation, .. } => {
                let tracks = observation.tracks.as_ref();
                observation.metadata.len()
                    + tracks.map_or(0, |tracks| tracks.as_str().len())
                    + labels([&observation.name, &observation.role])
            }
            Self::Event(event) => {
                let reason = event.presence.ended.as_ref().map(|end| &end.reason);
                let forward = event.forward.as_ref();
                event.metadata.as_ref().map_or(0, Metadata::len)
                    + forward.map_or(0, |forward| forward.size())
                    + labels([&event.name, &event.role])
                    + labels([&event.presence.session_id, reason.unwrap_or(&None)])
            }
            Self::Restoring { .. } | Self::NotRestored { .. } => 0,
        };
        self.key().size() + content
    }
}

impl From<Observation> for Report {
    fn from(observation: Observation) -> Self {
        Self::Observed(observation)
    }
}

impl From<EventReport> for Report {
    fn from(event: EventReport) -> Self {
        Self::Event(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{End, EndKind, PeerId, RoomId, UserId};

    #[test]
    fn the_size_counts_every_text() {
        let key = PeerKey::new(
            UserId::parse("user-7").unwrap(),
            RoomId::parse("cave").unwrap(),
            PeerId::parse("p").unwrap(),
        )
        .unwrap();
        let at = chrono::DateTime::from_timestamp(1_800_000_000, 0)
            .unwrap()
            .into();
        let mark = RestoreMark {
            at,
            change: crate::domain::ChangeId::from_uuid(Uuid::nil()),
            changed_at: at,
            answered_at: None,
        };
        let restoring = Report::Restoring {
            key: key.clone(),
            mark,
        };
        assert_eq!(restoring.size(), 11);
        let event = EventReport {
            metadata: Some(Metadata::from_text("x".repeat(1_000))),
            name: Some(Label::new("seven")),
            role: Some(Label::new("player")),
            presence: Presence {
                connected_since: None,
                session_id: Some(Label::new("session")),
                ended: Some(End {
                    at,
                    kind: EndKind::Left,
                    reason: Some(Label::new("bored")),
                }),
            },
            ..EventReport::new(key.clone(), EventKind::Leave, at)
        };
        assert_eq!(Report::from(event).size(), 11 + 1_000 + 5 + 6 + 7 + 5);
        let observation = Observation {
            name: Some(Label::new("seven")),
            role: Some(Label::new("player")),
            tracks: Some(crate::domain::Tracks::from_canonical("{}")),
            ..Observation::new(key, at, Source::Peer, Metadata::from_text("hp 71"))
        };
        assert_eq!(Report::from(observation).size(), 11 + 5 + 5 + 6 + 2);
    }

    fn key() -> PeerKey {
        PeerKey::new(
            UserId::parse("user-7").unwrap(),
            RoomId::parse("cave").unwrap(),
            PeerId::parse("p").unwrap(),
        )
        .unwrap()
    }

    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_800_000_000 + second, 0)
            .unwrap()
            .into()
    }

    #[test]
    fn an_event_with_metadata_is_an_observation_of_its_own_time() {
        let event = EventReport {
            metadata: Some(Metadata::from_text("hp 71")),
            name: Some(Label::new("seven")),
            role: Some(Label::new("player")),
            joined_at: Some(at(1)),
            ..EventReport::new(key(), EventKind::RoleChange, at(5))
        };
        let expected = Observation {
            name: Some(Label::new("seven")),
            role: Some(Label::new("player")),
            joined_at: Some(at(1)),
            ..Observation::new(key(), at(5), Source::Webhook, Metadata::from_text("hp 71"))
        };
        let without = EventReport {
            metadata: None,
            ..event.clone()
        };
        let observed = |event: EventReport| {
            let report = Report::from(event);
            report.observation().map(Cow::into_owned)
        };
        assert_eq!(observed(event), Some(expected));
        assert_eq!(observed(without), None);
    }

    #[test]
    fn the_first_report_of_a_peer_is_that_of_its_join() {
        let ended = Some(End {
            at: at(9),
            kind: EndKind::Left,
            reason: None,
        });
        for (connected_since, ended, expected) in [
            (Some(at(5)), None, true),
            (Some(at(1)), None, false),
            (None, None, false),
            (Some(at(5)), ended, false),
        ] {
            let mut event = EventReport::new(key(), EventKind::Join, at(5));
            event.presence.connected_since = connected_since;
            event.presence.ended = ended;
            let case = format!("{:?}", event.presence);
            assert_eq!(
                Report::from(event).is_first_of_its_peer(),
                expected,
                "{case}"
            );
        }
        let observation = Observation::new(key(), at(5), Source::Room, Metadata::NONE);
        assert!(!Report::from(observation).is_first_of_its_peer());
    }

    #[test]
    fn only_a_join_with_metadata_says_what_a_cautious_leave_may_repeat() {
        let set = Metadata::from_text("j");
        let empty = Metadata::from_text("");
        let (cautious, trust) = (LeaveMetadata::Cautious, LeaveMetadata::Trust);
        for (leave_metadata, kind, metadata, expected) in [
            (cautious, EventKind::Join, Some(&set), Some(set.digest())),
            (cautious, EventKind::Join, Some(&empty), None),
            (cautious, EventKind::Join, None, None),
            (cautious, EventKind::Leave, Some(&set), None),
            (cautious, EventKind::RoleChange, Some(&set), None),
            (trust, EventKind::Join, Some(&set), None),
        ] {
            let rules = Rules {
                leave_metadata,
                ..Rules::default()
            };
            let event = EventReport {
                metadata: metadata.cloned(),
                ..EventReport::new(key(), kind, at(5))
            };
            assert_eq!(event.join_metadata(&rules), expected, "{kind:?}");
        }
    }

    #[test]
    fn only_events_request_restores() {
        let mut event = EventReport::new(key(), EventKind::Join, at(5));
        assert_eq!(
            Report::from(event.clone()).restore_requested_at(),
            None,
            "unless they say so"
        );
        event.restore_requested_at = Some(at(6));
        assert_eq!(Report::from(event).restore_requested_at(), Some(at(6)));
        let observation = Observation::new(key(), at(5), Source::Room, Metadata::NONE);
        assert_eq!(Report::from(observation).restore_requested_at(), None);
    }
}
