//! Reads an event, in one pass.
//!
//! Fields may be missing, unknown or of another type, and the dashboard's test button sends
//! placeholders. None of that is an error.

use super::{EventType, PeerEvent, PeerEventKind, WebhookEvent};
use crate::domain::{Label, Metadata, NotRepresentable, PeerId, RoomId, Timestamp, UserId};
use crate::hms::wire::{self, NotJson, Reader};

/// The body is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is not JSON")]
pub struct NotAnEvent;

/// Reads a body.
///
/// # Errors
/// [`NotAnEvent`] when the body is not JSON. JSON that is not an object is an event to ignore.
pub fn parse(body: &[u8]) -> Result<(EventType, WebhookEvent), NotAnEvent> {
    let envelope = Envelope::read(&wire::decode(body)).map_err(|NotJson| NotAnEvent)?;
    Ok((envelope.event_type, envelope.event()))
}

/// The room of an event of any type, where it names one that is valid.
pub fn room_id(body: &[u8]) -> Option<RoomId> {
    let envelope = Envelope::read(&wire::decode(body)).ok()?;
    envelope.data.room_id
}

/// An event of any type. Times are not ahead of our clock.
struct Envelope {
    event_type: EventType,
    sent_at: Option<Timestamp>,
    data: Data,
}

impl Envelope {
    fn read(json: &str) -> Result<Self, NotJson> {
        let mut envelope = Self {
            event_type: EventType::Other,
            sent_at: None,
            data: Data::default(),
        };
        let mut reader = Reader::new(json);
        reader.each_entry(|field, value| {
            match field.as_bytes() {
                b"type" => {
                    let name = value.exact()?;
                    envelope.event_type =
                        name.map_or(EventType::Other, |name| EventType::parse(&name));
                }
                b"timestamp" => envelope.sent_at = value.timestamp()?,
                b"data" => envelope.data = Data::read(value)?,
                _ => value.skip()?,
            }
            Ok(())
        })?;
        reader.end()?;
        Ok(envelope)
    }

    fn event(self) -> WebhookEvent {
        let Self {
            sent_at, mut data, ..
        } = self;
        match self.event_type {
            EventType::PeerJoin => {
                peer_event(PeerEventKind::Joined, data.joined_at.or(sent_at), data)
            }
            EventType::PeerLeave => {
                let reason = data.reason.take();
                peer_event(
                    PeerEventKind::Left { reason },
                    data.left_at.or(sent_at),
                    data,
                )
            }
            EventType::RoleChange => peer_event(
                PeerEventKind::RoleChanged,
                data.role_changed_at.or(sent_at),
                data,
            ),
            EventType::SessionOpen => session_opened(sent_at, data),
            EventType::SessionClose | EventType::RoomEnd => session_ended(sent_at, data),
            EventType::PeerJoinFailure | EventType::PeerLeaveFailure | EventType::Other => {
                WebhookEvent::Ignored
            }
        }
    }
}

/// What `data` holds, in events of any type.
#[derive(Default)]
struct Data {
    user_id: Option<UserId>,
    room_id: Option<RoomId>,
    peer_id: Option<PeerId>,
    session_id: Option<Label>,
    joined_at: Option<Timestamp>,
    left_at: Option<Timestamp>,
    role_changed_at: Option<Timestamp>,
    session_started_at: Option<Timestamp>,
    session_stopped_at: Option<Timestamp>,
    reason: Option<Label>,
    role: Option<Label>,
    name: Option<Label>,
    metadata: Option<Result<Metadata, NotRepresentable>>,
}

impl Data {
    /// The fields of an object; none of any other value.
    fn read(object: &mut Reader<'_>) -> Result<Self, NotJson> {
        let mut data = Self::default();
        object.each_entry(|field, value| data.set(field.as_bytes(), value))?;
        Ok(data)
    }

    fn set(&mut self, field: &[u8], value: &mut Reader<'_>) -> Result<(), NotJson> {
        match field {
            b"user_id" => self.user_id = value.exact()?.and_then(|id| UserId::parse(&id).ok()),
            b"room_id" => self.room_id = value.exact()?.and_then(|id| RoomId::parse(&id).ok()),
            b"peer_id" => self.peer_id = value.exact()?.and_then(|id| PeerId::parse(&id).ok()),
            b"session_id" => {
                let id = value.exact()?.filter(|id| !id.is_empty());
                self.session_id = id.map(|id| Label::new(&id));
            }
            b"joined_at" => self.joined_at = value.timestamp()?,
            b"left_at" => self.left_at = value.timestamp()?,
            b"role_changed_at" => self.role_changed_at = value.timestamp()?,
            b"session_started_at" => self.session_started_at = value.timestamp()?,
            b"session_stopped_at" => self.session_stopped_at = value.timestamp()?,
            b"reason" => self.reason = value.label()?,
            b"role" => self.role = value.label()?,
            b"user_name" => self.name = value.label()?,
            b"user_data" => {
                let is_null = value.is_null();
                self.metadata = Some(value.metadata()?).filter(|_| !is_null);
            }
            _ => value.skip()?,
        }
        Ok(())
    }
}

fn peer_event(kind: PeerEventKind, at: Option<Timestamp>, data: Data) -> WebhookEvent {
    // Without a time it cannot be ordered: a test of the dashboard.
    let Some(at) = at else {
        return WebhookEvent::Ignored;
    };
    let Some(user_id) = data.user_id else {
        return WebhookEvent::WithoutUser;
    };
    let (Some(room_id), Some(peer_id)) = (data.room_id, data.peer_id) else {
        return WebhookEvent::Ignored;
    };
    WebhookEvent::Peer(Box::new(PeerEvent {
        user_id,
        room_id,
        peer_id,
        session_id: data.session_id,
        kind,
        at,
        joined_at: data.joined_at,
        name: data.name,
        role: data.role,
        metadata: data.metadata,
    }))
}

fn session_opened(sent_at: Option<Timestamp>, data: Data) -> WebhookEvent {
    match (data.room_id, data.session_started_at.or(sent_at)) {
        (Some(room_id), Some(at)) => WebhookEvent::SessionOpened { room_id, at },
        _ => WebhookEvent::Ignored,
    }
}

fn session_ended(sent_at: Option<Timestamp>, data: Data) -> WebhookEvent {
    match (data.room_id, data.session_stopped_at.or(sent_at)) {
        (Some(room_id), Some(at)) => WebhookEvent::SessionEnded {
            room_id,
            session_id: data.session_id,
            at,
        },
        _ => WebhookEvent::Ignored,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn read(body: &str) -> WebhookEvent {
        parse(body.as_bytes()).unwrap().1
    }

    /// A leave with these values in its JSON.
    fn leave(reason: &str, left_at: &str, user_data: &str) -> PeerEvent {
        let body = format!(
            r#"{{"version":"2.0","type":"peer.leave.success","timestamp":"2026-03-01T10:06:12Z","is_replay":true,"data":
               {{"user_id":"player-7","room_id":"r","peer_id":"p","session_id":"s","joined_at":"2026-03-01T10:00:00Z",
                 "left_at":{left_at},"reason":{reason},"user_data":{user_data},"user_name":"nixon","role":"player",
                 "is_replay":true,"new":[1]}}}}"#
        );
        match read(&body) {
            WebhookEvent::Peer(event) => *event,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_documented_leave_is_read() {
        let expected = PeerEvent {
            user_id: UserId::parse("player-7").unwrap(),
            room_id: RoomId::parse("r").unwrap(),
            peer_id: PeerId::parse("p").unwrap(),
            session_id: Some(Label::new("s")),
            kind: PeerEventKind::Left {
                reason: Some(Label::new("websocket closed")),
            },
            at: time("2026-03-01T10:06:11.5Z"),
            joined_at: Some(time("2026-03-01T10:00:00Z")),
            name: Some(Label::new("nixon")),
            role: Some(Label::new("player")),
            metadata: Some(Ok(Metadata::from_text(r#"{"hp":71}"#))),
        };
        let read = leave(
            r#""websocket closed""#,
            r#""2026-03-01T10:06:11.5Z""#,
            r#""{\"hp\":71}""#,
        );
        assert_eq!(read, expected);
    }

    #[test]
    fn null_or_absent_user_data_says_nothing_of_the_metadata() {
        assert_eq!(leave("null", "null", "null").metadata, None);
        let join = r#"{"type":"peer.join.success","timestamp":"2026-03-01T10:06:12Z",
                       "data":{"user_id":"u","room_id":"r","peer_id":"p"}}"#;
        let WebhookEvent::Peer(event) = read(join) else {
            panic!("not an event of a peer")
        };
        assert_eq!(event.kind, PeerEventKind::Joined);
        assert_eq!(event.metadata, None);
        assert_eq!(
            leave("null", "null", r#""""#).metadata,
            Some(Ok(Metadata::from_text("")))
        );
    }

    #[test]
    fn missing_times_are_those_of_the_envelope() {
        let at = |left_at: &str| leave("null", left_at, "null").at;
        assert_eq!(at("\"2026-03-01T10:10:59Z\""), time("2026-03-01T10:10:59Z"));
        assert_eq!(at("\"2027-03-01T10:10:59Z\""), time("2027-03-01T10:10:59Z"));
        for missing in ["null", "\"0001-01-01T00:00:00Z\"", "\"20XX-01-01\"", "3"] {
            assert_eq!(at(missing), time("2026-03-01T10:06:12Z"), "{missing}");
        }
    }

    #[test]
    fn the_last_of_duplicate_keys_counts() {
        let body = r#"{"type":"x","data":3,"timestamp":"2026-03-01T10:06:12Z","type":"room.end.success",
                       "data":{"room_id":"a","room_id":"b"}}"#;
        let expected = WebhookEvent::SessionEnded {
            room_id: RoomId::parse("b").unwrap(),
            session_id: None,
            at: time("2026-03-01T10:06:12Z"),
        };
        assert_eq!(read(body), expected);
    }

    #[test]
    fn the_start_of_a_session_names_its_room() {
        let open = |data: &str| {
            read(&format!(
                r#"{{"type":"session.open.success","timestamp":"2026-03-01T10:06:12Z","data":{data}}}"#
            ))
        };
        let opened = |at| WebhookEvent::SessionOpened {
            room_id: RoomId::parse("r").unwrap(),
            at: time(at),
        };
        let started = r#"{"room_id":"r","session_started_at":"2026-03-01T10:06:11.5Z"}"#;
        assert_eq!(open(started), opened("2026-03-01T10:06:11.5Z"));
        assert_eq!(open(r#"{"room_id":"r"}"#), opened("2026-03-01T10:06:12Z"));
        assert_eq!(open("{}"), WebhookEvent::Ignored);
    }

    #[test]
    fn only_what_is_not_json_is_an_error() {
        for odd in [
            "{}",
            "null",
            "[]",
            "\"x\"",
            r#""\ud800""#,
            r#"{"type":"peer.join.success"}"#,
            r#"{"type":7,"data":[]}"#,
            r#"{"type":"recording.success","data":{}}"#,
            r#"{"type":"peer.join.success","timestamp":"20XX-03-01T10:06:12Z","data":{"user_id":"x"}}"#,
            r#"{"type":"peer.join.success","timestamp":"2026-03-01T10:06:12Z","data":{"user_id":"x","room_id":".."}}"#,
        ] {
            assert_eq!(read(odd), WebhookEvent::Ignored, "{odd}");
        }
        let without_user = r#"{"type":"peer.join.success","timestamp":"2026-03-01T10:06:12Z","data":{"user_id":""}}"#;
        assert_eq!(read(without_user), WebhookEvent::WithoutUser);
        for not_json in ["", "nul", "{", "{}x", "\u{1}", "{\"data\":{\"user_id\":}}"] {
            assert_eq!(parse(not_json.as_bytes()), Err(NotAnEvent), "{not_json}");
        }
    }
}
