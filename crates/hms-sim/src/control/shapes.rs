//! What the control API shows beyond the REST shapes.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::model::Peer;
use crate::state::State;
use crate::wire::{PeerJson, time};

/// A peer, with what the REST API does not show.
#[derive(Serialize)]
pub(crate) struct ControlPeer<'a> {
    #[serde(flatten)]
    peer: PeerJson<'a>,
    room_id: &'a str,
    session_id: &'a str,
    ghost_until: Option<String>,
}

impl<'a> ControlPeer<'a> {
    pub(crate) fn new(peer: &'a Peer) -> Self {
        Self {
            peer: PeerJson::with_tracks(peer),
            room_id: &peer.room_id,
            session_id: &peer.session_id,
            ghost_until: peer.ghost.as_ref().map(|ghost| time(ghost.until)),
        }
    }
}

/// Everyone everywhere. Metadata is shown as its wire text, which need not be a value that can be
/// parsed.
pub(crate) fn state(now: DateTime<Utc>, token_count: usize, state: &State) -> Value {
    let rooms: Map<String, Value> = state
        .rooms()
        .iter()
        .map(|(id, room)| {
            let peers: BTreeMap<&str, Value> = room
                .peers
                .values()
                .map(|peer| (peer.id.as_str(), summary(peer)))
                .collect();
            let session = &room.record.session;
            (
                id.clone(),
                json!({ "name": session.room_name, "session_id": session.id, "peers": peers }),
            )
        })
        .collect();
    json!({ "now": time(now), "tokens_seen": token_count, "rooms": rooms })
}

fn summary(peer: &Peer) -> Value {
    json!({
        "user_id": peer.user_id,
        "name": peer.name,
        "role": peer.role,
        "metadata": peer.metadata.as_raw().map(serde_json::value::RawValue::get),
        "joined_at": time(peer.joined_at),
        "ghost_until": peer.ghost.as_ref().map(|ghost| time(ghost.until)),
    })
}
