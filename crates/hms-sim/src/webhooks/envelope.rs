//! The payloads of 100ms's webhooks.
//!
//! `app_id` stands where it does in 100ms's samples: in the events of sessions and in changes of
//! role. What `source` says of a room that the REST API ended is not documented: it is left out.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::workflows::ReplayMark;
use crate::metadata::WireMetadata;
use crate::model::{Event, EventKind, Peer};
use crate::wire::{APP_ID, time};

/// The account that all simulated rooms belong to.
const ACCOUNT_ID: &str = "60b8e13a6eb86d8101b57354";

/// One event as it is sent.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Envelope {
    version: &'static str,
    pub(super) id: String,
    account_id: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_id: Option<&'static str>,
    timestamp: String,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    data: Data,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_replay: Option<bool>,
}

#[derive(Debug, Clone, Default, Serialize)]
struct Data {
    #[serde(flatten)]
    peer: Option<PeerData>,
    #[serde(flatten)]
    leave: Option<LeaveData>,
    #[serde(flatten)]
    role_change: Option<RoleData>,
    room_id: String,
    room_name: String,
    session_id: String,
    template_id: String,
    session_started_at: String,
    #[serde(flatten)]
    session_end: Option<SessionEndData>,
    #[serde(flatten)]
    room_end: Option<RoomEndData>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_replay: Option<bool>,
}

#[derive(Debug, Clone, Serialize)]
struct PeerData {
    joined_at: String,
    peer_id: String,
    role: String,
    r#type: &'static str,
    user_id: String,
    user_name: String,
    user_data: WireMetadata,
}

#[derive(Debug, Clone, Serialize)]
struct LeaveData {
    duration: i64,
    left_at: String,
    reason: String,
    message: String,
}

/// What the documentation names of the end of a session, in seconds.
#[derive(Debug, Clone, Serialize)]
struct SessionEndData {
    session_stopped_at: String,
    session_duration: i64,
}

#[derive(Debug, Clone, Serialize)]
struct RoleData {
    previous_role: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    role_change_requested_by: Option<String>,
    role_changed_at: String,
}

#[derive(Debug, Clone, Serialize)]
struct RoomEndData {
    #[serde(flatten)]
    by: Option<EnderData>,
    lock_room: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'static str>,
}

/// The peer that ended a room.
#[derive(Debug, Clone, Serialize)]
struct EnderData {
    peer_id: String,
    role: String,
    user_id: String,
    user_name: String,
}

impl Envelope {
    pub(super) fn new(event: Event) -> Self {
        let session = event.session;
        let (kind, data) = peer_part(event.kind, event.at);
        let session_end = session.ended_at.map(|at| SessionEndData {
            session_stopped_at: time(at),
            session_duration: (at - session.created_at).num_seconds(),
        });
        Self {
            version: "2.0",
            id: Uuid::new_v4().to_string(),
            account_id: ACCOUNT_ID,
            app_id: (kind.starts_with("session.") || kind.starts_with("role.")).then_some(APP_ID),
            timestamp: event.at.to_rfc3339_opts(SecondsFormat::Secs, true),
            kind,
            data: Data {
                room_id: session.room_id,
                room_name: session.room_name,
                session_id: session.id,
                template_id: session.template_id,
                session_started_at: time(session.created_at),
                session_end,
                ..data
            },
            is_replay: None,
        }
    }

    pub(super) fn room_id(&self) -> &str {
        &self.data.room_id
    }

    pub(super) fn session_id(&self) -> &str {
        &self.data.session_id
    }

    /// The ids of the peer and of its user, where the event is about a peer.
    pub(super) fn peer_and_user(&self) -> Option<(&str, &str)> {
        let peer = self.data.peer.as_ref()?;
        Some((&peer.peer_id, &peer.user_id))
    }

    /// The same event as a replay. Where the mark stands is not documented: at the top level or in
    /// `data`.
    pub(super) fn replayed(&self, mark: ReplayMark) -> Self {
        let mut replayed = self.clone();
        match mark {
            ReplayMark::TopLevel => replayed.is_replay = Some(true),
            ReplayMark::Data => replayed.data.is_replay = Some(true),
            ReplayMark::Nowhere => {}
        }
        replayed
    }
}

/// The event's name, and what it says of a peer.
fn peer_part(kind: EventKind, at: DateTime<Utc>) -> (&'static str, Data) {
    match kind {
        EventKind::PeerJoined(peer) => ("peer.join.success", of_peer(peer)),
        EventKind::PeerLeft {
            peer,
            reason,
            message,
        } => {
            let duration = (at - peer.joined_at).num_seconds();
            let leave = LeaveData {
                duration,
                left_at: time(at),
                reason,
                message,
            };
            (
                "peer.leave.success",
                Data {
                    leave: Some(leave),
                    ..of_peer(peer)
                },
            )
        }
        EventKind::RoleChanged {
            peer,
            previous_role,
            requested_by,
        } => {
            let role_change = RoleData {
                previous_role,
                role_change_requested_by: requested_by,
                role_changed_at: time(at),
            };
            (
                "role.change.success",
                Data {
                    role_change: Some(role_change),
                    ..of_peer(peer)
                },
            )
        }
        EventKind::SessionOpened => ("session.open.success", Data::default()),
        EventKind::SessionClosed => ("session.close.success", Data::default()),
        EventKind::RoomEnded { reason, lock, by } => {
            let room_end = RoomEndData {
                source: by.is_some().then_some("peer"),
                by: by.map(|peer| ender(*peer)),
                lock_room: lock,
                reason: Some(reason).filter(|reason| !reason.is_empty()),
            };
            (
                "room.end.success",
                Data {
                    room_end: Some(room_end),
                    ..Data::default()
                },
            )
        }
    }
}

fn ender(peer: Peer) -> EnderData {
    EnderData {
        peer_id: peer.id,
        role: peer.role,
        user_id: peer.user_id,
        user_name: peer.name,
    }
}

fn of_peer(peer: Peer) -> Data {
    let peer = PeerData {
        joined_at: time(peer.joined_at),
        peer_id: peer.id,
        role: peer.role,
        r#type: "regular",
        user_id: peer.user_id,
        user_name: peer.name,
        user_data: peer.metadata.as_user_data(),
    };
    Data {
        peer: Some(peer),
        ..Data::default()
    }
}
