//! What a server does to an active room: removes peers, sends messages, ends it.
//!
//! The paths, bodies and answers are those that 100ms documents. Its samples give `""` for a peer or
//! a role that is not meant, so an empty string is none. What a room answers that is not active is
//! not documented: 404, as for every other call.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{answer, bad_request};
use crate::Sim;
use crate::model::{RoomEnd, SimError};

#[derive(Deserialize)]
pub(super) struct Removal {
    peer_id: Option<String>,
    role: Option<String>,
    #[serde(default)]
    reason: String,
}

/// Removes a peer, or all peers of a role.
pub(super) async fn remove_peers(
    State(sim): State<Sim>,
    Path(room): Path<String>,
    body: Bytes,
) -> Response {
    let Some(removal) = object::<Removal>(&body) else {
        return bad_request("the body must be an object of strings");
    };
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let removed = match (given(removal.peer_id), given(removal.role)) {
        (Some(peer), _) => sim.kick(&room, &peer, &removal.reason).map(drop),
        (None, Some(role)) => sim.kick_role(&room, &role, &removal.reason),
        (None, None) => return bad_request("peer_id or role is required"),
    };
    done(removed, "peer remove request submitted")
}

#[derive(Deserialize)]
pub(super) struct Ending {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    lock: bool,
}

/// Ends the room.
pub(super) async fn end_room(
    State(sim): State<Sim>,
    Path(room): Path<String>,
    body: Bytes,
) -> Response {
    let Some(ending) = object::<Ending>(&body) else {
        return bad_request("the body must be an object");
    };
    let end = RoomEnd {
        reason: ending.reason,
        lock: ending.lock,
        ..RoomEnd::default()
    };
    done(sim.end_room_with(&room, end), "session is ending")
}

#[derive(Deserialize)]
pub(super) struct Message {
    #[expect(dead_code, reason = "it is checked and goes to nobody: nobody listens")]
    message: String,
}

/// Takes a message to the peers of a room.
pub(super) async fn send_message(
    State(sim): State<Sim>,
    Path(room): Path<String>,
    body: Bytes,
) -> Response {
    if object::<Message>(&body).is_none() {
        return bad_request("message is required");
    }
    let room = sim.with_state(|state| state.room(&room).map(drop));
    done(room, "message sent")
}

/// The body as an object; none is one without fields.
fn object<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    let body = if body.is_empty() { b"{}" } else { body };
    let is_object = body.trim_ascii_start().starts_with(b"{");
    serde_json::from_slice(body).ok().filter(|_| is_object)
}

fn done(result: Result<(), SimError>, message: &str) -> Response {
    answer(result.map(|()| json!({"message": message})))
}
