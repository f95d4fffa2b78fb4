//! The JSON shapes of 100ms's REST answers.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::value::RawValue;

use super::model::{Peer, Track};
use super::state::{Record, Room};

/// The customer that all simulated rooms belong to.
pub(super) const CUSTOMER_ID: &str = "627cdddff2e4e30487862ad1";
/// The app of that customer.
pub(super) const APP_ID: &str = "62510797903d857ab8ec3ba5";
/// How 100ms writes "none" where a time is expected.
const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// RFC 3339 with all nine fractional digits.
pub(super) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Nanos, true)
}

/// A peer; lists leave the tracks out.
#[derive(Serialize)]
pub(super) struct PeerJson<'a> {
    id: &'a str,
    name: &'a str,
    user_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
    role: &'a str,
    joined_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracks: Option<BTreeMap<&'a str, TrackJson<'a>>>,
}

impl<'a> PeerJson<'a> {
    pub(super) fn with_tracks(peer: &'a Peer) -> Self {
        let tracks = peer
            .tracks
            .iter()
            .map(|(id, track)| (id.as_str(), TrackJson::new(track)))
            .collect();
        Self {
            tracks: Some(tracks),
            ..Self::without_tracks(peer)
        }
    }

    fn without_tracks(peer: &'a Peer) -> Self {
        Self {
            id: &peer.id,
            name: &peer.name,
            user_id: &peer.user_id,
            metadata: peer.metadata.as_raw(),
            role: &peer.role,
            joined_at: time(peer.joined_at),
            tracks: None,
        }
    }
}

#[derive(Serialize)]
struct TrackJson<'a> {
    id: &'a str,
    stream_id: &'a str,
    mute: bool,
    r#type: &'a str,
    source: &'a str,
    started_at: String,
    description: &'static str,
}

impl<'a> TrackJson<'a> {
    fn new(track: &'a Track) -> Self {
        Self {
            id: &track.id,
            stream_id: &track.stream_id,
            mute: track.mute,
            r#type: &track.kind,
            source: &track.source,
            started_at: time(track.started_at),
            description: "",
        }
    }
}

/// The list of a room's peers: a map by peer id.
#[derive(Serialize)]
pub(super) struct PeersJson<'a> {
    peers: BTreeMap<&'a str, PeerJson<'a>>,
}

impl<'a> PeersJson<'a> {
    pub(super) fn new(peers: &[&'a Peer]) -> Self {
        Self {
            peers: peers
                .iter()
                .map(|peer| (peer.id.as_str(), PeerJson::without_tracks(peer)))
                .collect(),
        }
    }
}

/// An active room.
#[derive(Serialize)]
pub(super) struct RoomJson<'a> {
    id: &'a str,
    name: &'a str,
    customer_id: &'static str,
    session: RoomSessionJson<'a>,
}

#[derive(Serialize)]
struct RoomSessionJson<'a> {
    id: &'a str,
    created_at: String,
    peers: Vec<&'a str>,
}

impl<'a> RoomJson<'a> {
    pub(super) fn new(room: &'a Room) -> Self {
        let session = &room.record.session;
        Self {
            id: &session.room_id,
            name: &session.room_name,
            customer_id: CUSTOMER_ID,
            session: RoomSessionJson {
                id: &session.id,
                created_at: time(session.created_at),
                peers: room.peers.keys().map(String::as_str).collect(),
            },
        }
    }
}

/// A session: who was there, without metadata.
#[derive(Serialize)]
pub(super) struct SessionJson<'a> {
    id: &'a str,
    room_id: &'a str,
    customer_id: &'static str,
    active: bool,
    peers: BTreeMap<&'a str, SessionPeerJson<'a>>,
    created_at: String,
    updated_at: String,
}

#[derive(Serialize)]
struct SessionPeerJson<'a> {
    id: &'a str,
    session_id: &'a str,
    name: &'a str,
    role: &'a str,
    user_id: &'a str,
    joined_at: String,
    left_at: String,
}

impl<'a> SessionJson<'a> {
    pub(super) fn new((record, present): (&'a Record, Vec<&'a Peer>)) -> Self {
        let left = record
            .left
            .iter()
            .map(|(peer, at)| SessionPeerJson::new(peer, time(*at)));
        let present = present
            .into_iter()
            .map(|peer| SessionPeerJson::new(peer, ZERO_TIME.to_owned()));
        let session = &record.session;
        Self {
            id: &session.id,
            room_id: &session.room_id,
            customer_id: CUSTOMER_ID,
            active: session.ended_at.is_none(),
            peers: left.chain(present).map(|peer| (peer.id, peer)).collect(),
            created_at: time(session.created_at),
            updated_at: time(session.updated_at),
        }
    }
}

impl<'a> SessionPeerJson<'a> {
    fn new(peer: &'a Peer, left_at: String) -> Self {
        Self {
            id: &peer.id,
            session_id: &peer.session_id,
            name: &peer.name,
            role: &peer.role,
            user_id: &peer.user_id,
            joined_at: time(peer.joined_at),
            left_at,
        }
    }
}

/// The documented error body.
#[derive(Serialize)]
pub(super) struct ErrorJson<'a> {
    code: u16,
    message: &'a str,
    details: [&'a str; 1],
}

impl<'a> ErrorJson<'a> {
    pub(super) fn new(code: u16, message: &'a str, detail: &'a str) -> Self {
        Self {
            code,
            message,
            details: [detail],
        }
    }
}
