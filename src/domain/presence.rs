//! Presence: whether a peer is connected, and how it ended, as far as anybody told.
//!
//! What is told is merged so that the order of arrival does not matter: the newest end counts, and only while nobody has
//! seen the peer after it.

use std::collections::BTreeSet;

use super::{Label, PeerId, RoomId, Timestamp};

/// How a peer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndKind {
    /// The connection was lost.
    Dropped,
    /// The client left.
    Left,
    /// Somebody removed the peer.
    Kicked,
    /// The session or the room ended with the peer in it.
    Ended,
}

impl EndKind {
    const ALL: [Self; 4] = [Self::Dropped, Self::Left, Self::Kicked, Self::Ended];

    /// The name in answers and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::Left => "left",
            Self::Kicked => "kicked",
            Self::Ended => "ended",
        }
    }

    /// How a peer ended that left for this reason. One of `drop_reasons` is a drop.
    pub fn of_leave(reason: Option<&Label>, drop_reasons: &BTreeSet<String>) -> Self {
        match reason.map(Label::as_str) {
            Some(reason) if drop_reasons.contains(reason) => Self::Dropped,
            Some("peer kicked") => Self::Kicked,
            _ => Self::Left,
        }
    }

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// An end of a peer. Ordered by its time first, so that the newest is the greatest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct End {
    /// When.
    pub at: Timestamp,
    /// How.
    pub kind: EndKind,
    /// Why, in the words of 100ms.
    pub reason: Option<Label>,
}

/// What was told of a peer's presence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Presence {
    /// Since when it is connected, or was until its end; none where only the REST API told of it.
    pub connected_since: Option<Timestamp>,
    /// The session of its room.
    pub session_id: Option<Label>,
    /// Its end, unless it was seen later.
    pub ended: Option<End>,
}

impl Presence {
    /// What is known after `told`. The same, whatever the order in which it is told, and however often.
    #[must_use]
    pub fn merged(self, told: &Self) -> Self {
        Self {
            connected_since: self.connected_since.max(told.connected_since),
            session_id: self.session_id.max(told.session_id.clone()),
            ended: self.ended.max(told.ended.clone()),
        }
    }

    /// What is left of it for a peer that was last seen then: an end before that was none.
    #[must_use]
    pub fn as_of(mut self, last_observed_at: Timestamp) -> Self {
        self.ended = self.ended.filter(|end| end.at >= last_observed_at);
        self
    }

    /// The status of a peer with this presence, whose session ended then, if it did.
    pub fn status(&self, session_ended_at: Option<Timestamp>) -> PeerPresence {
        let (status, reason, since) = match (&self.ended, session_ended_at, self.connected_since) {
            (Some(end), ..) => (end.kind.into(), end.reason.clone(), Some(end.at)),
            (None, Some(at), _) => (Status::Ended, None, Some(at)),
            (None, None, Some(since)) => (Status::Connected, None, Some(since)),
            (None, None, None) => (Status::Unknown, None, None),
        };
        PeerPresence {
            status,
            reason,
            since,
        }
    }
}

/// Whether a peer is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It joined, and nobody told of an end.
    Connected,
    /// Its connection was lost.
    Dropped,
    /// It left.
    Left,
    /// It was removed.
    Kicked,
    /// Its session or room ended.
    Ended,
    /// No webhook told of it.
    Unknown,
}

impl From<EndKind> for Status {
    fn from(kind: EndKind) -> Self {
        match kind {
            EndKind::Dropped => Self::Dropped,
            EndKind::Left => Self::Left,
            EndKind::Kicked => Self::Kicked,
            EndKind::Ended => Self::Ended,
        }
    }
}

/// Whether the peer is connected, why not, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerPresence {
    /// Whether it is connected.
    pub status: Status,
    /// Why it ended, in the words of 100ms.
    pub reason: Option<Label>,
    /// Since when.
    pub since: Option<Timestamp>,
}

impl Default for PeerPresence {
    fn default() -> Self {
        Presence::default().status(None)
    }
}

/// A peer that is connected now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectedPeer {
    /// Which.
    pub peer_id: PeerId,
    /// Where.
    pub room_id: RoomId,
    /// When it joined.
    pub joined_at: Option<Timestamp>,
}

/// The presence of the peer whose state is saved, and the user's connected peers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserPresence {
    /// The presence of the peer of the saved state.
    pub peer: PeerPresence,
    /// Of the user, at most 100, those that joined last first.
    pub connected_peers: Vec<ConnectedPeer>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_800_000_000 + second, 0)
            .unwrap()
            .into()
    }

    fn told() -> impl Strategy<Value = Presence> {
        let end = (0i64..6, 0usize..4).prop_map(|(second, kind)| End {
            at: at(second),
            kind: EndKind::ALL[kind],
            reason: None,
        });
        (prop::option::of(0i64..6), prop::option::of(end)).prop_map(|(since, ended)| Presence {
            connected_since: since.map(at),
            session_id: None,
            ended,
        })
    }

    proptest! {
        /// Facts and sights in any order, each any number of times, end in one presence.
        #[test]
        fn order_and_repetition_do_not_matter(
            facts in prop::collection::vec((told(), 0i64..6), 1..8),
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..24),
        ) {
            let run = |order: &mut dyn Iterator<Item = usize>| {
                let (mut presence, mut seen) = (Presence::default(), at(0));
                for place in order {
                    let (fact, second) = &facts[place];
                    seen = seen.max(at(*second));
                    presence = presence.merged(fact).as_of(seen);
                }
                presence
            };
            let straight = run(&mut (0..facts.len()));
            let shuffled = order.iter().map(|pick| pick.index(facts.len()));
            prop_assert_eq!(run(&mut shuffled.chain((0..facts.len()).rev())), straight);
        }
    }

    #[test]
    fn the_reason_of_a_leave_says_how_the_peer_ended() {
        let drop_reasons =
            BTreeSet::from(["websocket closed", "server removed peer"].map(Into::into));
        for (reason, kind) in [
            (Some("websocket closed"), EndKind::Dropped),
            (Some("server removed peer"), EndKind::Dropped),
            (Some("client request"), EndKind::Left),
            (Some("peer kicked"), EndKind::Kicked),
            (Some("something new"), EndKind::Left),
            (None, EndKind::Left),
        ] {
            let reason = reason.map(Label::new);
            assert_eq!(
                EndKind::of_leave(reason.as_ref(), &drop_reasons),
                kind,
                "{reason:?}"
            );
        }
    }

    #[test]
    fn a_later_sight_ends_the_end_and_an_earlier_one_does_not() {
        let left = Presence {
            connected_since: Some(at(1)),
            session_id: None,
            ended: Some(End {
                at: at(5),
                kind: EndKind::Dropped,
                reason: Some(Label::new("websocket closed")),
            }),
        };
        assert_eq!(
            left.clone().as_of(at(5)).status(None).status,
            Status::Dropped
        );
        assert_eq!(left.as_of(at(6)).status(None).status, Status::Connected);
    }
}
