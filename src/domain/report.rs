//! Reports: the messages about a peer that change its state.

use std::borrow::Cow;

use super::{Label, Metadata, Observation, PeerKey, Presence, RestoreMark, Source, Timestamp};

/// One message about a peer on its way into the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// An answer of the REST API describes the peer.
    Observed(Observation),
    /// A webhook event describes the peer.
    Event(EventReport),
    /// A saved state is about to be sent to the peer.
    Restoring {
        /// The peer.
        key: PeerKey,
        /// When it was observed before.
        observed_at: Timestamp,
        /// What is sent.
        mark: RestoreMark,
    },
    /// 100ms answered a restore with the peer as it is now.
    Restored {
        /// The peer in the answer, dated when the request was sent.
        observation: Observation,
        /// When the answer came: the observation holds until then.
        /// A request that was sent meanwhile may have been answered before the restore took effect.
        valid_until: Timestamp,
    },
}

/// What a webhook event says of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventReport {
    /// The peer.
    pub key: PeerKey,
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
}

impl EventReport {
    /// An event that says nothing but that the peer exists.
    pub fn new(key: PeerKey, at: Timestamp) -> Self {
        Self {
            key,
            at,
            metadata: None,
            name: None,
            role: None,
            joined_at: None,
            presence: Presence::default(),
            restore_requested_at: None,
        }
    }

    fn observation(&self) -> Observation {
        Observation {
            key: self.key.clone(),
            observed_at: self.at,
            source: Source::Webhook,
            metadata: self.metadata.clone().unwrap_or_default(),
            name: self.name.clone(),
            role: self.role.clone(),
            tracks: None,
            joined_at: self.joined_at,
        }
    }
}

impl Report {
    /// The peer.
    pub fn key(&self) -> &PeerKey {
        match self {
            Self::Observed(observation) | Self::Restored { observation, .. } => &observation.key,
            Self::Event(event) => &event.key,
            Self::Restoring { key, .. } => key,
        }
    }

    /// The report as an observation. Where [`Report::is_insert_only`], it counts only for a peer of
    /// which nothing is stored.
    pub fn observation(&self) -> Cow<'_, Observation> {
        match self {
            Self::Observed(observation) | Self::Restored { observation, .. } => {
                Cow::Borrowed(observation)
            }
            Self::Event(event) => Cow::Owned(event.observation()),
            Self::Restoring {
                key, observed_at, ..
            } => Cow::Owned(Observation::new(
                key.clone(),
                *observed_at,
                Source::Peer,
                Metadata::NONE,
            )),
        }
    }

    /// Whether the report says nothing of the metadata, so that it observes only a peer of which
    /// nothing is stored.
    pub fn is_insert_only(&self) -> bool {
        match self {
            Self::Observed(_) | Self::Restored { .. } => false,
            Self::Event(event) => event.metadata.is_none(),
            Self::Restoring { .. } => true,
        }
    }

    /// Whether this is most likely the first report of its peer: the event of its join.
    pub fn is_first_of_its_peer(&self) -> bool {
        match self {
            Self::Event(event) => {
                event.presence.ended.is_none() && event.presence.connected_since == Some(event.at)
            }
            Self::Observed(_) | Self::Restoring { .. } | Self::Restored { .. } => false,
        }
    }

    /// When a restore to the peer was requested.
    pub fn restore_requested_at(&self) -> Option<Timestamp> {
        match self {
            Self::Event(event) => event.restore_requested_at,
            Self::Observed(_) | Self::Restoring { .. } | Self::Restored { .. } => None,
        }
    }

    /// The size of its metadata and tracks, in bytes.
    pub fn size(&self) -> usize {
        match self {
            Self::Observed(observation) | Self::Restored { observation, .. } => {
                let tracks = observation.tracks.as_ref();
                observation.metadata.len() + tracks.map_or(0, |tracks| tracks.as_str().len())
            }
            Self::Event(event) => event.metadata.as_ref().map_or(0, Metadata::len),
            Self::Restoring { .. } => 0,
        }
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
