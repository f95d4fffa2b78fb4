//! The payloads of 100ms's webhooks.
//!
//! The fields of the session and room events are not in the payloads we have: they carry those that
//! every peer event has.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use uuid::Uuid;

use crate::metadata::WireMetadata;
use crate::model::{Event, EventKind, Peer};
use crate::wire::time;

/// The account that all simulated rooms belong to.
const ACCOUNT_ID: &str = "60b8e13a6eb86d8101b57354";
/// The template that all simulated rooms are made from.
const TEMPLATE_ID: &str = "66112497abcd52312556c4aa";

/// One event as it is sent.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Envelope {
    version: &'static str,
    pub(super) id: String,
    account_id: &'static str,
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
    template_id: &'static str,
    session_started_at: String,
    #[serde(flatten)]
    session_end: Option<SessionEndData>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
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
    role_changed_at: String,
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
            timestamp: event.at.to_rfc3339_opts(SecondsFormat::Secs, true),
            kind,
            data: Data {
                room_id: session.room_id,
                room_name: session.room_name,
                session_id: session.id,
                template_id: TEMPLATE_ID,
                session_started_at: time(session.created_at),
                session_end,
                ..data
            },
            is_replay: None,
        }
    }

    /// The same event as a replay. Where the mark stands is not documented: at the top level or in
    /// `data`.
    pub(super) fn replayed(&self, in_data: bool) -> Self {
        let mut replayed = self.clone();
        *(if in_data {
            &mut replayed.data.is_replay
        } else {
            &mut replayed.is_replay
        }) = Some(true);
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
        } => {
            let role_change = RoleData {
                previous_role,
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
        EventKind::RoomEnded { reason } => (
            "room.end.success",
            Data {
                reason: Some(reason).filter(|reason| !reason.is_empty()),
                ..Data::default()
            },
        ),
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
