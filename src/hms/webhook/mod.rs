//! Reading an event: leniently, since fields may be missing or unknown, and dashboards send placeholders.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::{End, EndKind, Label, PeerId, RoomId, Timestamp, UserId};

/// A time of an event that is further ahead of our clock than this is taken for our clock's.
const AHEAD: TimeDelta = TimeDelta::seconds(60);

/// The reasons of a leave that mean that the connection was lost, as 100ms documents them.
pub const DROP_REASONS: [&str; 3] = [
    "websocket closed",
    "ice connection state closed",
    "server removed peer",
];

/// The body is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is not JSON")]
pub struct NotAnEvent;

/// What an event tells.
#[derive(Debug)]
pub enum Event {
    /// Something of a peer.
    Peer(Box<PeerEvent>),
    /// The end of a session, or of a room.
    SessionEnd {
        room_id: RoomId,
        session_id: Option<Label>,
        at: Timestamp,
    },
    /// Something of a peer that belongs to no user.
    WithoutUser,
    /// Nothing that is kept.
    Other,
}

#[derive(Debug)]
pub struct PeerEvent {
    pub user_id: UserId,
    pub room_id: RoomId,
    pub peer_id: PeerId,
    pub session_id: Option<Label>,
    /// When it happened.
    pub at: Timestamp,
    pub joined_at: Option<Timestamp>,
    pub ended: Option<End>,
    pub name: Option<Label>,
    pub role: Option<Label>,
    pub user_data: Option<Box<RawValue>>,
    /// Whether it is this that the event tells: the peer has joined.
    pub is_join: bool,
}

#[derive(Deserialize, Default)]
struct Envelope<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[expect(clippy::struct_field_names, reason = "the names of 100ms")]
struct Data<'a> {
    #[serde(borrow, default)]
    user_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    room_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    peer_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    session_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    joined_at: Option<&'a RawValue>,
    #[serde(borrow, default)]
    left_at: Option<&'a RawValue>,
    #[serde(borrow, default)]
    role_changed_at: Option<&'a RawValue>,
    #[serde(borrow, default)]
    session_stopped_at: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reason: Option<&'a RawValue>,
    #[serde(borrow, default)]
    role: Option<&'a RawValue>,
    #[serde(borrow, default)]
    user_name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    user_data: Option<&'a RawValue>,
}

/// The fields of an object; none where it is something else.
fn object<'a, T: Deserialize<'a> + Default>(json: Option<&'a RawValue>) -> T {
    let json = json.map(RawValue::get).filter(|json| json.starts_with('{'));
    json.and_then(|json| serde_json::from_str(json).ok())
        .unwrap_or_default()
}

/// A field that is a string, whatever else it might be.
fn text(field: Option<&RawValue>) -> Option<String> {
    serde_json::from_str(field?.get()).ok()
}

/// The types that are known; they are labels of a metric, so that others must not be.
const KINDS: [&str; 8] = [
    "peer.join.success",
    "peer.leave.success",
    "role.change.success",
    "peer.join.failure",
    "peer.leave.failure",
    "session.open.success",
    "session.close.success",
    "room.end.success",
];

/// Reads a body that came at `now`: its type (`other` where it is not known) and what it tells.
pub fn read(
    body: &[u8],
    now: Timestamp,
    drop_reasons: &BTreeSet<String>,
) -> Result<(&'static str, Event), NotAnEvent> {
    let json: &RawValue = serde_json::from_slice(body).map_err(|_| NotAnEvent)?;
    let envelope: Envelope = object(Some(json));
    let kind = text(envelope.kind)
        .and_then(|told| KINDS.into_iter().find(|kind| *kind == told))
        .unwrap_or("other");
    let data: Data = object(envelope.data);
    let reader = Reader {
        now,
        sent_at: envelope.timestamp,
        data,
    };
    let event = match kind {
        "peer.join.success" => reader.join(),
        "peer.leave.success" => reader.peer(reader.data.left_at, Some(drop_reasons)),
        "role.change.success" => reader.peer(reader.data.role_changed_at, None),
        "session.close.success" | "room.end.success" => reader.session_end(),
        _ => Event::Other,
    };
    Ok((kind, event))
}

struct Reader<'a> {
    now: Timestamp,
    sent_at: Option<&'a RawValue>,
    data: Data<'a>,
}

impl Reader<'_> {
    fn join(&self) -> Event {
        match self.peer(self.data.joined_at, None) {
            Event::Peer(peer) => Event::Peer(Box::new(PeerEvent {
                is_join: true,
                ..*peer
            })),
            other => other,
        }
    }

    fn peer(&self, happened: Option<&RawValue>, leave: Option<&BTreeSet<String>>) -> Event {
        let data = &self.data;
        // Without a time there is no telling what it is newer than: a test of the dashboard.
        let Some(at) = self.time(happened).or_else(|| self.time(self.sent_at)) else {
            return Event::Other;
        };
        let Some(user_id) = text(data.user_id).and_then(|id| UserId::parse(&id).ok()) else {
            return Event::WithoutUser;
        };
        let room_id = text(data.room_id).and_then(|id| RoomId::parse(&id).ok());
        let peer_id = text(data.peer_id).and_then(|id| PeerId::parse(&id).ok());
        let (Some(room_id), Some(peer_id)) = (room_id, peer_id) else {
            return Event::Other;
        };
        let reason = text(data.reason);
        let ended = leave.map(|drops| End {
            at,
            kind: match reason.as_deref() {
                Some(reason) if drops.contains(reason) => EndKind::Dropped,
                Some("peer kicked") => EndKind::Kicked,
                _ => EndKind::Left,
            },
            reason: reason.as_deref().map(Label::new),
        });
        Event::Peer(Box::new(PeerEvent {
            user_id,
            room_id,
            peer_id,
            session_id: self.session_id(),
            at,
            joined_at: self.time(data.joined_at),
            ended,
            name: text(data.user_name).as_deref().map(Label::new),
            role: text(data.role).as_deref().map(Label::new),
            user_data: data.user_data.map(ToOwned::to_owned),
            is_join: false,
        }))
    }

    fn session_end(&self) -> Event {
        let at = self
            .time(self.data.session_stopped_at)
            .or_else(|| self.time(self.sent_at));
        let room_id = text(self.data.room_id).and_then(|id| RoomId::parse(&id).ok());
        match (room_id, at) {
            (Some(room_id), Some(at)) => Event::SessionEnd {
                room_id,
                session_id: self.session_id(),
                at,
            },
            _ => Event::Other,
        }
    }

    fn session_id(&self) -> Option<Label> {
        text(self.data.session_id)
            .filter(|id| !id.is_empty())
            .as_deref()
            .map(Label::new)
    }

    /// A time that is told; none where it is the zero time or no time.
    fn time(&self, field: Option<&RawValue>) -> Option<Timestamp> {
        let told = Timestamp::parse_upstream(&text(field)?)?;
        Some(if told > self.now.shifted(AHEAD) {
            self.now
        } else {
            told
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::parse("2026-03-01T10:10:00Z").unwrap()
    }

    fn read_one(body: &str) -> Event {
        let drops = DROP_REASONS.map(ToOwned::to_owned).into();
        read(body.as_bytes(), now(), &drops).unwrap().1
    }

    fn leave(reason: &str, left_at: &str) -> PeerEvent {
        let body = format!(
            r#"{{"version":"2.0","type":"peer.leave.success","timestamp":"2026-03-01T10:06:12Z","is_replay":true,"data":
               {{"user_id":"player-7","room_id":"r","peer_id":"p","session_id":"s","joined_at":"2026-03-01T10:00:00Z",
                 "left_at":{left_at},"reason":{reason},"user_data":"{{\"hp\":71}}","is_replay":true,"new":[1]}}}}"#
        );
        match read_one(&body) {
            Event::Peer(event) => *event,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_reason_of_a_leave_says_how_it_ended_and_is_kept() {
        for (reason, kind) in [
            ("\"websocket closed\"", EndKind::Dropped),
            ("\"server removed peer\"", EndKind::Dropped),
            ("\"client request\"", EndKind::Left),
            ("\"peer kicked\"", EndKind::Kicked),
            ("\"something new\"", EndKind::Left),
            ("null", EndKind::Left),
        ] {
            let end = leave(reason, "\"2026-03-01T10:06:12.5Z\"").ended.unwrap();
            assert_eq!(end.kind, kind, "{reason}");
            assert_eq!(
                end.reason.map(|label| format!("{:?}", label.as_str())),
                Some(reason.to_owned()).filter(|r| r != "null")
            );
        }
    }

    #[test]
    fn times_ahead_are_clamped_and_missing_ones_are_the_envelope_s() {
        assert_eq!(
            leave("null", "\"2026-03-01T10:10:59Z\"").at,
            Timestamp::parse("2026-03-01T10:10:59Z").unwrap()
        );
        assert_eq!(leave("null", "\"2027-03-01T10:10:59Z\"").at, now());
        for missing in ["null", "\"0001-01-01T00:00:00Z\"", "\"20XX-01-01\"", "3"] {
            assert_eq!(
                leave("null", missing).at,
                Timestamp::parse("2026-03-01T10:06:12Z").unwrap(),
                "{missing}"
            );
        }
    }

    #[test]
    fn what_is_not_understood_is_no_error_and_what_is_not_json_is() {
        for odd in [
            "{}",
            "null",
            "[]",
            "\"x\"",
            r#"{"type":"peer.join.success"}"#,
            r#"{"type":7,"data":[]}"#,
            r#"{"type":"recording.success","data":{}}"#,
            r#"{"type":"peer.join.success","timestamp":"20XX-03-01T10:06:12Z","data":{"user_id":"x"}}"#,
            r#"{"type":"peer.join.success","timestamp":"2026-03-01T10:06:12Z","data":{"user_id":"x","room_id":".."}}"#,
        ] {
            assert!(matches!(read_one(odd), Event::Other), "{odd}");
        }
        let nobody = r#"{"type":"peer.join.success","timestamp":"2026-03-01T10:06:12Z","data":{"user_id":""}}"#;
        assert!(matches!(read_one(nobody), Event::WithoutUser));
        for not_json in ["", "nul", "{", "{}x", "\u{1}"] {
            assert!(
                read(not_json.as_bytes(), now(), &BTreeSet::new()).is_err(),
                "{not_json}"
            );
        }
    }
}
