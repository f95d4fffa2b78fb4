//! The bodies of own events, as [Standard Webhooks](https://www.standardwebhooks.com) has them: a type,
//! a time and data, with the names of the API.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::domain::{EventPolicy, Label, Metadata, OwnEvent, PeerKey, Timestamp};

/// The event as JSON.
pub(super) fn body(event: &OwnEvent, policy: EventPolicy) -> Bytes {
    let envelope = Envelope {
        event_type: event.event_type().as_str(),
        timestamp: text(event.at()),
        data: Data::new(event, policy),
    };
    serde_json::to_vec(&envelope)
        .expect("texts and JSON are JSON")
        .into()
}

#[derive(Serialize)]
struct Envelope<'a> {
    #[serde(rename = "type")]
    event_type: &'static str,
    timestamp: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    user_id: &'a str,
    room_id: &'a str,
    peer_id: &'a str,
    #[serde(flatten)]
    detail: Detail<'a>,
    snapshot_id: Option<Uuid>,
    #[serde(flatten)]
    metadata: Option<MetadataJson<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Detail<'a> {
    Dropped {
        joined_at: Option<String>,
        dropped_at: String,
        reason: Option<&'a str>,
    },
    Saved {
        joined_at: Option<String>,
        changed_at: String,
        last_observed_at: String,
    },
    Restored {
        changed_at: String,
        to_room_id: &'a str,
        to_peer_id: &'a str,
        restored_at: String,
        automatic: bool,
    },
    Claimed {
        changed_at: String,
        to_room_id: Option<&'a str>,
        to_peer_id: Option<&'a str>,
        claimed_at: String,
        claimed_by: &'a str,
    },
}

#[derive(Serialize)]
struct MetadataJson<'a> {
    metadata: Option<Box<RawValue>>,
    metadata_raw: Option<&'a str>,
}

impl<'a> Data<'a> {
    fn new(event: &'a OwnEvent, policy: EventPolicy) -> Self {
        let PeerKey {
            user_id,
            room_id,
            peer_id,
        } = event.key();
        let snapshot = snapshot(event);
        Self {
            user_id: user_id.as_str(),
            room_id: room_id.as_str(),
            peer_id: peer_id.as_str(),
            detail: Detail::new(event),
            snapshot_id: snapshot.map(|(id, _)| id),
            metadata: policy
                .with_metadata
                .then(|| MetadataJson::new(snapshot.map(|(_, metadata)| metadata))),
        }
    }
}

impl<'a> Detail<'a> {
    fn new(event: &'a OwnEvent) -> Self {
        match event {
            OwnEvent::Dropped(peer) => Self::Dropped {
                joined_at: peer.joined_at.map(text),
                dropped_at: text(peer.end.at),
                reason: peer.end.reason.as_ref().map(Label::as_str),
            },
            OwnEvent::Saved(state) => Self::Saved {
                joined_at: state.joined_at.map(text),
                changed_at: text(state.changed_at),
                last_observed_at: text(state.last_observed_at),
            },
            OwnEvent::Restored {
                state,
                to,
                at,
                automatic,
            } => Self::Restored {
                changed_at: text(state.changed_at),
                to_room_id: to.room_id.as_str(),
                to_peer_id: to.peer_id.as_str(),
                restored_at: text(*at),
                automatic: *automatic,
            },
            OwnEvent::Claimed {
                state,
                to,
                at,
                claimed_by,
            } => Self::Claimed {
                changed_at: text(state.changed_at),
                to_room_id: to.as_ref().map(|to| to.room_id.as_str()),
                to_peer_id: to.as_ref().map(|to| to.peer_id.as_str()),
                claimed_at: text(*at),
                claimed_by: claimed_by.as_str(),
            },
        }
    }
}

impl<'a> MetadataJson<'a> {
    fn new(metadata: Option<&'a Metadata>) -> Self {
        Self {
            metadata: metadata.and_then(Metadata::as_json),
            metadata_raw: metadata.and_then(Metadata::raw),
        }
    }
}

/// The row of history that the event is about, and its metadata.
fn snapshot(event: &OwnEvent) -> Option<(Uuid, &Metadata)> {
    match event {
        OwnEvent::Dropped(peer) => {
            let (id, metadata) = peer.snapshot.as_ref()?;
            Some((*id, metadata))
        }
        OwnEvent::Saved(state)
        | OwnEvent::Restored { state, .. }
        | OwnEvent::Claimed { state, .. } => Some((state.snapshot_id, &state.metadata)),
    }
}

fn text(at: Timestamp) -> String {
    at.to_string()
}
