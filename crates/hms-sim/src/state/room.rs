//! An active room and its session, and what a join or a published track makes.

use std::collections::{BTreeMap, VecDeque};

use uuid::Uuid;

use super::Now;
use super::registry::RoomInfo;
use crate::model::{Event, EventKind, Join, NewTrack, Peer, Session, Track};

/// An active room.
pub(crate) struct Room {
    pub(crate) peers: BTreeMap<String, Peer>,
    pub(crate) record: Record,
}

/// A session, and who was in it but is gone.
#[derive(Clone)]
pub(crate) struct Record {
    pub(crate) session: Session,
    pub(crate) left: VecDeque<(Peer, Now)>,
}

impl Room {
    pub(super) fn open(info: &RoomInfo, join: &Join, now: Now) -> Self {
        let session = Session {
            id: join.session_id.clone().unwrap_or_else(hex_id),
            room_id: info.id.clone(),
            room_name: join.room_name.clone().unwrap_or_else(|| info.name.clone()),
            template_id: info.template_id.clone(),
            created_at: now,
            updated_at: now,
            ended_at: None,
        };
        Self {
            peers: BTreeMap::new(),
            record: Record {
                session,
                left: VecDeque::new(),
            },
        }
    }

    pub(super) fn event(&self, at: Now, kind: EventKind) -> Event {
        Event {
            at,
            session: self.record.session.clone(),
            kind,
        }
    }
}

pub(super) fn new_peer(now: Now, session: &Session, join: Join) -> Peer {
    let stream_id = uuid();
    let tracks = join
        .tracks
        .into_iter()
        .map(|track| new_track(now, &stream_id, track));
    Peer {
        id: join.peer_id.unwrap_or_else(uuid),
        room_id: session.room_id.clone(),
        session_id: session.id.clone(),
        name: join.name.unwrap_or_else(|| join.user_id.clone()),
        user_id: join.user_id,
        role: join.role.unwrap_or_else(|| "player".to_owned()),
        metadata: join.metadata,
        joined_at: now,
        tracks: tracks.map(|track| (track.id.clone(), track)).collect(),
        ghost: None,
    }
}

pub(super) fn new_track(now: Now, stream_id: &str, track: NewTrack) -> Track {
    Track {
        id: track.id.unwrap_or_else(uuid),
        stream_id: stream_id.to_owned(),
        mute: track.mute,
        kind: track.kind,
        source: track.source.unwrap_or_else(|| "regular".to_owned()),
        started_at: now,
    }
}

pub(super) fn uuid() -> String {
    Uuid::new_v4().to_string()
}

/// An id in the form of rooms and sessions: 24 hexadecimal digits.
pub(super) fn hex_id() -> String {
    hex::encode(rand::random::<[u8; 12]>())
}
