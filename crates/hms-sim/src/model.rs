//! What a room consists of: peers, their tracks and sessions; and what the simulator is asked to
//! do.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::metadata::{WireMetadata, given};

/// A connection in a room.
#[derive(Debug, Clone, PartialEq)]
pub struct Peer {
    /// New on every join.
    pub id: String,
    /// The room it is in.
    pub room_id: String,
    /// The session of that room.
    pub session_id: String,
    /// The customer's id of the person; may be empty.
    pub user_id: String,
    /// The display name.
    pub name: String,
    /// The role.
    pub role: String,
    /// The metadata, as served.
    pub metadata: WireMetadata,
    /// When it joined.
    pub joined_at: DateTime<Utc>,
    /// Its tracks by id.
    pub tracks: BTreeMap<String, Track>,
    /// Set once it has dropped: it stays visible until then.
    pub ghost: Option<Ghost>,
}

/// What is left of a peer whose connection was lost.
#[derive(Debug, Clone, PartialEq)]
pub struct Ghost {
    /// When the room forgets it.
    pub until: DateTime<Utc>,
    /// The reason its leave event gives.
    pub reason: String,
    /// Whether that event has been sent already.
    pub leave_sent: bool,
}

/// An audio or video track.
#[derive(Debug, Clone, PartialEq)]
pub struct Track {
    /// Its id.
    pub id: String,
    /// The stream it belongs to: one per peer.
    pub stream_id: String,
    /// Whether it is muted.
    pub mute: bool,
    /// `audio` or `video`.
    pub kind: String,
    /// `regular`, `screen`, …
    pub source: String,
    /// When it was published.
    pub started_at: DateTime<Utc>,
}

/// A peer that is to join.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Join {
    /// The customer's id of the person; empty as for room-code and SIP joins.
    pub user_id: String,
    /// The display name; the `user_id` when none is given.
    pub name: Option<String>,
    /// The role; `player` when none is given.
    pub role: Option<String>,
    /// What the app sets as it joins; `""` when none is given.
    pub metadata: WireMetadata,
    /// A peer id to take instead of a new one.
    pub peer_id: Option<String>,
    /// The tracks it publishes at once.
    pub tracks: Vec<NewTrack>,
    /// The name of the room, should this join open it; the room's id when none is given.
    pub room_name: Option<String>,
    /// The id of the session, should this join open it.
    pub session_id: Option<String>,
}

impl Join {
    /// A join of this user, everything else as by default.
    pub fn of(user_id: &str) -> Self {
        Self {
            user_id: user_id.to_owned(),
            ..Self::default()
        }
    }

    /// The same with this metadata.
    #[must_use]
    pub fn with_metadata(self, metadata: WireMetadata) -> Self {
        Self { metadata, ..self }
    }
}

/// A track that is to be published.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTrack {
    /// A track id to take instead of a new one.
    #[serde(default)]
    pub id: Option<String>,
    /// `audio` or `video`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `regular` when none is given.
    #[serde(default)]
    pub source: Option<String>,
    /// Whether it starts muted.
    #[serde(default)]
    pub mute: bool,
}

/// A change of a peer: what is none stays.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Update {
    /// The new display name.
    pub name: Option<String>,
    /// The new role.
    pub role: Option<String>,
    /// The new metadata, as a whole.
    #[serde(deserialize_with = "given")]
    pub metadata: Option<WireMetadata>,
    /// The id of the peer that asks for a new role; none when it is changed by the REST API.
    #[serde(skip)]
    pub requested_by: Option<String>,
}

/// How a room is ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoomEnd {
    /// Why, in the words of whoever ends it.
    pub reason: String,
    /// Whether the room is locked too.
    pub lock: bool,
    /// The id of the peer that ends it; none when the REST API does.
    pub by: Option<String>,
    /// The reason that leave events of its peers give. Whether 100ms sends such events is not
    /// documented: none are without a reason.
    pub leave_reason: Option<String>,
}

/// A lost connection.
#[derive(Debug, Clone)]
pub(super) struct Disconnect {
    /// How long the peer stays visible.
    pub ghost: Duration,
    /// The reason its leave event gives.
    pub reason: String,
    /// Whether that event comes at once rather than at the end of the ghost.
    pub send_leave_now: bool,
}

/// Which peers a list has: those that match every filter given.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    /// Only this user's.
    pub user_id: Option<String>,
    /// Only those in this role.
    pub role: Option<String>,
}

impl Filter {
    pub(super) fn matches(&self, peer: &Peer) -> bool {
        self.user_id
            .as_ref()
            .is_none_or(|user| *user == peer.user_id)
            && self.role.as_ref().is_none_or(|role| *role == peer.role)
    }
}

/// The time of one session of a room: from its first join until its last peer is gone.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Session {
    /// 24 hexadecimal digits.
    pub id: String,
    /// Whose session.
    pub room_id: String,
    /// The name of that room.
    pub room_name: String,
    /// The template of that room.
    pub template_id: String,
    /// When it was opened.
    pub created_at: DateTime<Utc>,
    /// When someone last came or went.
    pub updated_at: DateTime<Utc>,
    /// When it was closed; none while the room is active.
    pub ended_at: Option<DateTime<Utc>>,
}

/// What a webhook reports.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    /// When it happened.
    pub at: DateTime<Utc>,
    /// The session it happened in.
    pub session: Session,
    /// What happened.
    pub kind: EventKind,
}

/// The kinds of [`Event`].
#[derive(Debug, Clone, PartialEq)]
pub(super) enum EventKind {
    PeerJoined(Peer),
    PeerLeft {
        peer: Peer,
        reason: String,
        message: String,
    },
    RoleChanged {
        peer: Peer,
        previous_role: String,
        /// The id of the peer that asked for it; none for the REST API.
        requested_by: Option<String>,
    },
    SessionOpened,
    SessionClosed,
    RoomEnded {
        /// Why, in the words of whoever ended it.
        reason: String,
        /// Whether it was locked too.
        lock: bool,
        /// The peer that ended it; none for the REST API.
        by: Option<Box<Peer>>,
    },
}

/// Why the simulator did not do what it was asked to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SimError {
    /// Nobody is in that room.
    #[error("the room is not active")]
    RoomNotActive,
    /// The room has no such peer, not even as a ghost.
    #[error("no such peer in the room")]
    NoSuchPeer,
    /// The peer has no such track.
    #[error("the peer has no such track")]
    NoSuchTrack,
    /// There is no such room, active or not.
    #[error("no such room")]
    NoSuchRoom,
    /// The room is disabled or locked: nobody can join it.
    #[error("the room is disabled")]
    RoomDisabled,
    /// A peer of that id is in the room already.
    #[error("a peer of this id is in the room already")]
    PeerExists,
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
}
