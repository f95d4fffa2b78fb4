//! Sessions as 100ms lists them. An invalid field or session does not affect the others.

use super::peer::bad_response;
use crate::domain::RoomId;
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
