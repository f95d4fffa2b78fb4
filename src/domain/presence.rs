//! Presence: whether a peer is connected and, if not, how it ended, as far as webhooks reported.
//!
//! Reports are merged so that their order of arrival does not matter: the newest end counts, and
//! only until the peer is observed after it.

use std::collections::BTreeSet;

use super::named::named;
use super::{Label, PeerId, RoomId, Timestamp};

named! {
    /// How a peer ended. The names are those in answers and in the database.
    #[derive(PartialOrd, Ord)]
    pub enum EndKind {
        /// The connection was lost.
        Dropped = "dropped",
        /// The client left.
        Left = "left",
        /// The peer was removed.
        Kicked = "kicked",
        /// The session or the room ended with the peer in it.
        Ended = "ended",
    }
}

impl EndKind {
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
        Self::ALL.iter().copied().find(|kind| kind.as_str() == name)
    }
}

/// Why a peer ended of which no webhook reported that: its session at 100ms says that it left.
const RECONCILED: &str = "reconciled";

/// How and when a peer stopped being connected.
/// Ordered by time first, so that the newest end is the greatest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct End {
    /// When.
    pub at: Timestamp,
    /// How.
    pub kind: EndKind,
    /// Why, in the words of 100ms.
    pub reason: Option<Label>,
}

/// What is known of a peer's presence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Presence {
    /// Since when it is connected, or was until its end; none where only the REST API reported it.
    pub connected_since: Option<Timestamp>,
    /// The session in which it is.
    pub session_id: Option<Label>,
    /// Its end, unless it was observed after that.
    pub ended: Option<End>,
}

impl Presence {
    /// Takes in what was reported. The same, whatever the order of reports, and however often.
    pub fn merge(&mut self, reported: &Self) {
        self.connected_since = self.connected_since.max(reported.connected_since);
        self.session_id = self.session_id.take().max(reported.session_id.clone());
        self.ended = self.ended.take().max(reported.ended.clone());
    }

    /// Removes an end that a later join has undone. Nothing else undoes one: 100ms gives every
    /// connection a peer of its own.
    pub fn settle(&mut self, joined_at: Option<Timestamp>) {
        let joined_at = joined_at.max(self.connected_since);
        if self
            .ended
            .as_ref()
            .is_some_and(|end| Some(end.at) < joined_at)
        {
            self.ended = None;
        }
    }

    /// The drop that `before` did not know of: a first one, or one after a further join. One that is
    /// reported again, at another time, is the same.
    pub fn new_drop(&self, before: &Self, joined_at: Option<Timestamp>) -> Option<&End> {
        let is_drop = |end: &&End| end.kind == EndKind::Dropped;
        let end = self.ended.as_ref().filter(is_drop)?;
        let known = before.ended.as_ref().filter(is_drop);
        let joined_at = joined_at.max(self.connected_since);
        let is_new = known.is_none_or(|known| Some(known.at) < joined_at);
        is_new.then_some(end)
    }

    /// The presence for callers, given when the peer left as its session at 100ms says it, and when
    /// that session ended, if they did. What a webhook reported of the peer itself says it better.
    pub fn status(
        &self,
        departed_at: Option<Timestamp>,
        session_ended_at: Option<Timestamp>,
    ) -> PeerPresence {
        let (status, reason, since) = if let Some(end) = &self.ended {
            (end.kind.into(), end.reason.clone(), Some(end.at))
        } else if departed_at.is_some() {
            (Status::Ended, Some(Label::new(RECONCILED)), departed_at)
        } else if session_ended_at.is_some() {
            (Status::Ended, None, session_ended_at)
        } else if self.connected_since.is_some() {
            (Status::Connected, None, self.connected_since)
        } else {
            (Status::Unknown, None, None)
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
    /// It joined, and no end was reported.
    Connected,
    /// Its connection was lost.
    Dropped,
    /// It left.
    Left,
    /// It was removed.
    Kicked,
    /// Its session or room ended.
    Ended,
    /// No webhook reported it.
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

/// Whether a peer is connected, why not, and since when.
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
        Presence::default().status(None, None)
    }
}

/// A peer that is connected now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectedPeer {
    /// The peer.
    pub peer_id: PeerId,
    /// The room it is in.
    pub room_id: RoomId,
    /// When it joined.
    pub joined_at: Option<Timestamp>,
}

/// The presence of the saved state's peer, and the user's connected peers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserPresence {
    /// The presence of the saved state's peer.
    pub peer: PeerPresence,
    /// The user's connected peers, at most 100, the last to join first.
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

    fn reported() -> impl Strategy<Value = Presence> {
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
        /// Reports and joins end in the same presence, in whatever order and however often each
        /// comes.
        #[test]
        fn order_and_repetition_do_not_matter(
            reports in prop::collection::vec((reported(), 0i64..6), 1..8),
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..24),
        ) {
            let run = |order: &mut dyn Iterator<Item = usize>| {
                let (mut presence, mut joined_at) = (Presence::default(), None);
                for index in order {
                    let (reported, second) = &reports[index];
                    joined_at = joined_at.max(Some(at(*second)));
                    presence.merge(reported);
                    presence.settle(joined_at);
                }
                presence
            };
            let in_order = run(&mut (0..reports.len()));
            let shuffled = order.iter().map(|index| index.index(reports.len()));
            prop_assert_eq!(run(&mut shuffled.chain((0..reports.len()).rev())), in_order);
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
    fn an_end_counts_until_the_peer_joins_after_it() {
        let dropped = Presence {
            connected_since: Some(at(1)),
            session_id: None,
            ended: Some(End {
                at: at(5),
                kind: EndKind::Dropped,
                reason: Some(Label::new("websocket closed")),
            }),
        };
        for (joined_at, status) in [
            (at(4), Status::Dropped),
            (at(5), Status::Dropped),
            (at(6), Status::Connected),
        ] {
            let mut presence = dropped.clone();
            presence.settle(Some(joined_at));
            assert_eq!(presence.status(None, None).status, status, "{joined_at}");
        }
    }

    #[test]
    fn a_drop_is_new_once_and_again_after_a_further_join() {
        let presence = |since: i64, ended: Option<(i64, EndKind)>| Presence {
            connected_since: Some(at(since)),
            session_id: None,
            ended: ended.map(|(second, kind)| End {
                at: at(second),
                kind,
                reason: None,
            }),
        };
        let dropped = |since, second| presence(since, Some((second, EndKind::Dropped)));
        let left = |second| presence(1, Some((second, EndKind::Left)));
        for (before, now, joined_at, expected) in [
            (Presence::default(), dropped(1, 5), 1, Some(5)),
            (presence(1, None), dropped(1, 5), 1, Some(5)),
            (left(4), dropped(1, 5), 1, Some(5)),
            (dropped(1, 5), dropped(1, 5), 1, None),
            (dropped(1, 5), dropped(1, 6), 1, None),
            (dropped(1, 5), dropped(1, 6), 5, None),
            (dropped(1, 5), dropped(6, 7), 1, Some(7)),
            (dropped(1, 5), dropped(1, 7), 6, Some(7)),
            (presence(1, None), left(5), 1, None),
            (dropped(1, 5), left(6), 1, None),
            (dropped(1, 5), presence(6, None), 6, None),
        ] {
            let drop = now.new_drop(&before, Some(at(joined_at)));
            let dropped_at = drop.map(|end| end.at);
            assert_eq!(dropped_at, expected.map(at), "{before:?} {now:?}");
        }
    }

    #[test]
    fn each_kind_of_end_has_a_name() {
        for (kind, name) in [
            (EndKind::Dropped, "dropped"),
            (EndKind::Left, "left"),
            (EndKind::Kicked, "kicked"),
            (EndKind::Ended, "ended"),
        ] {
            assert_eq!(kind.as_str(), name);
            assert_eq!(EndKind::parse(name), Some(kind));
        }
        assert_eq!(EndKind::parse("connected"), None);
    }

    #[test]
    fn the_status_is_the_peers_own_end_else_its_departure_else_the_end_of_its_session_else_its_join()
     {
        let left = End {
            at: at(9),
            kind: EndKind::Left,
            reason: Some(Label::new("bored")),
        };
        for (since, ended, [departed_at, session_ended_at], expected) in [
            (None, None, [None; 2], (Status::Unknown, None, None)),
            (Some(1), None, [None; 2], (Status::Connected, Some(1), None)),
            (
                Some(1),
                None,
                [None, Some(8)],
                (Status::Ended, Some(8), None),
            ),
            (
                Some(1),
                None,
                [Some(7), Some(8)],
                (Status::Ended, Some(7), Some("reconciled")),
            ),
            (
                Some(1),
                Some(&left),
                [Some(10), None],
                (Status::Left, Some(9), Some("bored")),
            ),
            (
                None,
                Some(&left),
                [None, Some(8)],
                (Status::Left, Some(9), Some("bored")),
            ),
        ] {
            let presence = Presence {
                connected_since: since.map(at),
                session_id: None,
                ended: ended.cloned(),
            };
            let peer = presence.status(departed_at.map(at), session_ended_at.map(at));
            let reason = peer.reason.as_ref().map(Label::as_str);
            let (status, since, expected_reason) = expected;
            assert_eq!((peer.status, peer.since), (status, since.map(at)));
            assert_eq!(reason, expected_reason);
        }
    }
}
