//! Sessions as 100ms lists them. An invalid field or session does not affect the others.

use std::collections::HashMap;

use super::list::run_apart;
use super::peer::bad_response;
use super::send::Body;
use crate::domain::{PeerId, RoomId, Timestamp};
use crate::hms::HmsError;
use crate::hms::wire::{self, NotJson, Reader};

/// A page of the list of sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionPage {
    /// The sessions of rooms with a valid id.
    pub sessions: Vec<ActiveSession>,
    /// What asks for the next page. What ends the list is not documented: take an empty page, none
    /// of this, or one that was seen before for its end.
    pub last: Option<String>,
    /// Whether 100ms listed no session at all.
    pub is_empty: bool,
}

/// A session that is active.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveSession {
    /// Its room.
    pub room_id: RoomId,
}

/// A session and its peers.
#[derive(Debug, PartialEq, Eq)]
pub struct Session {
    is_active: bool,
    /// When each peer left, by peer id.
    left_at: HashMap<String, Option<Timestamp>>,
}

/// What a session says of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attendance {
    /// It left then.
    Left(Timestamp),
    /// It is in a session that is over, and nothing says when it left.
    Over,
    /// It is there.
    Present,
    /// The session does not mention it.
    Unknown,
}

impl Session {
    /// What it says of a peer.
    pub fn attendance(&self, peer: &PeerId) -> Attendance {
        match self.left_at.get(peer.as_str()) {
            Some(Some(at)) => Attendance::Left(*at),
            Some(None) if self.is_active => Attendance::Present,
            Some(None) => Attendance::Over,
            None => Attendance::Unknown,
        }
    }

    /// Reads the answer of the session endpoint. A `left_at` that is absent, null or the zero time
    /// says that the peer is still there.
    ///
    /// # Errors
    /// [`HmsError::BadResponse`] when it is not a JSON object with the map `peers`.
    pub(super) async fn read(body: Body) -> Result<Self, HmsError> {
        let Body { bytes, permit } = body;
        run_apart(permit.is_large(), move || read_one(&bytes)).await?
    }
}

fn read_one(body: &[u8]) -> Result<Session, HmsError> {
    let json = wire::decode(body);
    let mut session = Session {
        is_active: true,
        left_at: HashMap::new(),
    };
    let mut has_peers = false;
    let mut reader = Reader::new(&json);
    let object = reader.each_entry(|field, value| {
        match field.as_bytes() {
            b"active" => session.is_active = !value.is_false()?,
            b"peers" => {
                has_peers = value.is_null();
                has_peers |= value.each_entry(|peer_id, peer| {
                    let left_at = read_left_at(peer)?;
                    session
                        .left_at
                        .insert(peer_id.lossy().into_owned(), left_at);
                    Ok(())
                })?;
            }
            _ => value.skip()?,
        }
        Ok(())
    });
    if object != Ok(true) || reader.end().is_err() {
        return Err(bad_response("the session is not a JSON object"));
    }
    if has_peers {
        Ok(session)
    } else {
        Err(bad_response("the session has no `peers`"))
    }
}

fn read_left_at(peer: &mut Reader<'_>) -> Result<Option<Timestamp>, NotJson> {
    let mut left_at = None;
    peer.each_entry(|field, value| {
        match field.as_bytes() {
            b"left_at" => left_at = value.timestamp()?,
            _ => value.skip()?,
        }
        Ok(())
    })?;
    Ok(left_at)
}

/// Reads a page of the list. `active=true` was asked for; a session that says that it is not active
/// is left out all the same.
///
/// # Errors
/// [`HmsError::BadResponse`] when it is not a JSON object with the list `data`.
pub(super) fn read_page(body: &[u8]) -> Result<SessionPage, HmsError> {
    let json = wire::decode(body);
    let mut page = SessionPage::default();
    let mut count = None;
    let mut reader = Reader::new(&json);
    let object = reader.each_entry(|field, value| {
        match field.as_bytes() {
            b"data" => {
                let mut listed = 0;
                let is_list = value.each_item(|item| {
                    listed += 1;
                    page.sessions.extend(read_session(item)?);
                    Ok(())
                })?;
                count = is_list.then_some(listed);
            }
            b"last" => {
                page.last = value
                    .exact()?
                    .map(Into::into)
                    .filter(|last: &String| !last.is_empty());
            }
            _ => value.skip()?,
        }
        Ok(())
    });
    if object != Ok(true) || reader.end().is_err() {
        return Err(bad_response("the list of sessions is not a JSON object"));
    }
    let count = count.ok_or_else(|| bad_response("the list of sessions has no `data`"))?;
    page.is_empty = count == 0;
    Ok(page)
}

fn read_session(reader: &mut Reader<'_>) -> Result<Option<ActiveSession>, NotJson> {
    let (mut room_id, mut is_active) = (None, true);
    reader.each_entry(|field, value| {
        match field.as_bytes() {
            b"room_id" => room_id = value.exact()?.and_then(|id| RoomId::parse(&id).ok()),
            b"active" => is_active = !value.is_false()?,
            _ => value.skip()?,
        }
        Ok(())
    })?;
    Ok(room_id
        .filter(|_| is_active)
        .map(|room_id| ActiveSession { room_id }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rooms(json: &str) -> Vec<String> {
        let page = read_page(json.as_bytes()).unwrap();
        let rooms = page.sessions.into_iter();
        rooms.map(|session| session.room_id.to_string()).collect()
    }

    #[test]
    fn the_documented_list_is_read() {
        let json = r#"{"limit":10,"data":[
            {"id":"s1","room_id":"r1","active":true,"peers":{"p":{"id":"p"}},"created_at":"2026-03-01T10:00:00Z"},
            {"id":"s2","room_id":"r2","active":false}],"last":"s2"}"#;
        assert_eq!(rooms(json), ["r1"]);
        let page = read_page(json.as_bytes()).unwrap();
        assert_eq!((page.last.as_deref(), page.is_empty), (Some("s2"), false));
    }

    #[test]
    fn the_documented_session_says_who_left_when() {
        let json = r#"{"id":"s1","active":ACTIVE,"peers":{
            "gone":{"id":"gone","left_at":"2026-03-01T10:06:12.643Z"},
            "zero":{"left_at":"0001-01-01T00:00:00Z"},"null":{"left_at":null},"absent":{},"odd":7}}"#;
        let left_at = Timestamp::parse("2026-03-01T10:06:12.643Z").unwrap();
        for (active, there) in [
            ("true", Attendance::Present),
            ("false", Attendance::Over),
            ("null", Attendance::Present),
        ] {
            let session = read_one(json.replace("ACTIVE", active).as_bytes()).unwrap();
            for (peer, expected) in [
                ("gone", Attendance::Left(left_at)),
                ("zero", there),
                ("null", there),
                ("absent", there),
                ("odd", there),
                ("nobody", Attendance::Unknown),
            ] {
                let attendance = session.attendance(&PeerId::parse(peer).unwrap());
                assert_eq!(attendance, expected, "{peer} {active}");
            }
        }
        assert!(read_one(br#"{"peers":null}"#).is_ok());
        for body in ["", "[]", "{}", r#"{"peers":[]}"#, r#"{"peers":{"#] {
            let session = read_one(body.as_bytes());
            assert!(matches!(session, Err(HmsError::BadResponse(_))), "{body}");
        }
    }

    #[test]
    fn an_odd_session_leaves_the_others_alone() {
        let json = r#"{"data":[3,null,{},{"room_id":5},{"room_id":""},{"room_id":"r","active":"yes"}],"last":7}"#;
        assert_eq!(rooms(json), ["r"]);
        let page = read_page(json.as_bytes()).unwrap();
        assert_eq!((page.last, page.is_empty), (None, false));
        let page = read_page(br#"{"data":[],"last":""}"#).unwrap();
        assert_eq!((page.last, page.is_empty), (None, true));
    }

    #[test]
    fn what_is_not_documented_is_refused() {
        for body in [
            "",
            "[]",
            "{}",
            r#"{"data":{}}"#,
            r#"{"data":null}"#,
            r#"{"data":[}"#,
            "<html>",
        ] {
            let page = read_page(body.as_bytes());
            assert!(matches!(page, Err(HmsError::BadResponse(_))), "{body}");
        }
    }
}
