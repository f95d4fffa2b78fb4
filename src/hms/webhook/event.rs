//! The events that the service knows, and what each of them says.

use crate::domain::{Label, Metadata, NotRepresentable, PeerId, RoomId, Timestamp, UserId, named};

named! {
    /// The type of an event. Its name is a label of a metric, so there must be few of them.
    pub enum EventType {
        /// A peer joined.
        PeerJoin = "peer.join.success",
        /// A peer left.
        PeerLeave = "peer.leave.success",
        /// A peer has another role.
        RoleChange = "role.change.success",
        /// A peer could not join.
        PeerJoinFailure = "peer.join.failure",
        /// A peer could not leave.
        PeerLeaveFailure = "peer.leave.failure",
        /// A session began.
        SessionOpen = "session.open.success",
        /// A session ended.
        SessionClose = "session.close.success",
        /// A room was ended.
        RoomEnd = "room.end.success",
        /// A type that the service does not know.
        Other = "other",
    }
}

impl EventType {
    /// The type of this name.
    pub(super) fn parse(name: &str) -> Self {
        let known = Self::ALL.iter().find(|known| known.as_str() == name);
        known.copied().unwrap_or(Self::Other)
    }
}

/// What an event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebhookEvent {
    /// Something happened to a peer.
    Peer(Box<PeerEvent>),
    /// A session began.
    SessionOpened {
        /// The room.
        room_id: RoomId,
        /// When.
        at: Timestamp,
    },
    /// A session or a room ended, and with it the connections of all its peers.
    SessionEnded {
        /// The room.
        room_id: RoomId,
        /// The session; none where the event names none.
        session_id: Option<Label>,
        /// When it ended.
        at: Timestamp,
    },
    /// Something happened to a peer without a `user_id`, or with one that is not valid.
    WithoutUser,
    /// Nothing that the service stores: another type, or without a time or valid ids, as in the
    /// tests that the dashboard sends.
    Ignored,
}

impl WebhookEvent {
    /// The room; none where there is nothing to store of the event.
    pub fn room_id(&self) -> Option<&RoomId> {
        match self {
            Self::Peer(event) => Some(&event.room_id),
            Self::SessionOpened { room_id, .. } | Self::SessionEnded { room_id, .. } => {
                Some(room_id)
            }
            Self::WithoutUser | Self::Ignored => None,
        }
    }

    /// Whose peer it is about.
    pub fn user_id(&self) -> Option<&UserId> {
        match self {
            Self::Peer(event) => Some(&event.user_id),
            Self::SessionOpened { .. }
            | Self::SessionEnded { .. }
            | Self::WithoutUser
            | Self::Ignored => None,
        }
    }
}

/// What happened to a peer, and what the event says of it besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerEvent {
    /// The person.
    pub user_id: UserId,
    /// The room.
    pub room_id: RoomId,
    /// The peer.
    pub peer_id: PeerId,
    /// The session of the room; none where the event names none.
    pub session_id: Option<Label>,
    /// What happened.
    pub kind: PeerEventKind,
    /// When it happened; where the event does not say, when it was sent.
    pub at: Timestamp,
    /// When the peer joined, as far as the event says.
    pub joined_at: Option<Timestamp>,
    /// The display name; none when absent or not a string.
    pub name: Option<Label>,
    /// The role; none when absent or not a string.
    pub role: Option<Label>,
    /// The exact metadata (`user_data`); none where it is absent or null, which says nothing of it.
    pub metadata: Option<Result<Metadata, NotRepresentable>>,
}

/// What happened to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerEventKind {
    /// It joined.
    Joined,
    /// It left.
    Left {
        /// Why, in 100ms's words: free text, often one of [`DROP_REASONS`](super::DROP_REASONS).
        reason: Option<Label>,
    },
    /// It has another role.
    RoleChanged,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_type_is_found_by_its_name() {
        for known in EventType::ALL {
            assert_eq!(EventType::parse(known.as_str()), *known);
        }
        for unknown in ["", "other", "recording.success", "PEER.JOIN.SUCCESS"] {
            assert_eq!(EventType::parse(unknown), EventType::Other, "{unknown}");
        }
    }
}
