//! Observations: what one answer or event says of one peer.

use super::{Label, Metadata, PeerKey, Timestamp, Tracks};

/// Where an observation comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// `GET /active-rooms/{room_id}/peers/{peer_id}`, with tracks.
    Peer,
    /// `GET /active-rooms/{room_id}/peers`, without tracks.
    Room,
    /// A webhook, without tracks.
    Webhook,
}

impl Source {
    /// The name in answers and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Room => "room",
            Self::Webhook => "webhook",
        }
    }

    /// The source of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Peer, Self::Room, Self::Webhook]
            .into_iter()
            .find(|source| source.as_str() == name)
    }
}

/// What one answer or event says of one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The peer.
    pub key: PeerKey,
    /// Of an answer, when its request was *sent*; of an event, when it happened.
    /// All orderings use this time.
    pub observed_at: Timestamp,
    /// Where it comes from.
    pub source: Source,
    /// The exact metadata.
    pub metadata: Metadata,
    /// The display name; none where the source does not mention it.
    pub name: Option<Label>,
    /// The role; none where the source does not mention it.
    pub role: Option<Label>,
    /// The tracks; none where the source does not mention them.
    pub tracks: Option<Tracks>,
    /// When the peer joined; none where the source does not mention it.
    pub joined_at: Option<Timestamp>,
}

impl Observation {
    pub(super) fn rank(&self) -> super::peer_state::Rank<'_> {
        super::peer_state::rank(
            &self.metadata,
            self.name.as_ref(),
            self.role.as_ref(),
            self.tracks.as_ref(),
        )
    }

    /// An observation of nothing but the metadata.
    pub fn new(key: PeerKey, observed_at: Timestamp, source: Source, metadata: Metadata) -> Self {
        Self {
            key,
            observed_at,
            source,
            metadata,
            name: None,
            role: None,
            tracks: None,
            joined_at: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_has_a_name() {
        for (source, name) in [
            (Source::Peer, "peer"),
            (Source::Room, "room"),
            (Source::Webhook, "webhook"),
        ] {
            assert_eq!(source.as_str(), name);
            assert_eq!(Source::parse(name), Some(source));
        }
        assert_eq!(Source::parse("session"), None);
    }
}
