//! Peers as 100ms describes them. An invalid field or peer does not affect the others.

use crate::domain::{Label, Metadata, NotRepresentable, PeerId, Timestamp, Tracks};
use crate::hms::HmsError;
use crate::hms::wire::{self, NotJson, Reader};

/// A peer as 100ms describes it. Its ids are not checked yet: an invalid one concerns this peer
/// alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamPeer {
    /// Its id; in a list its key, where it has no usable `id`.
    pub peer_id: String,
    /// The customer's id of the person; `""` when absent or not exactly readable: an altered id
    /// could be another's.
    pub user_id: String,
    /// The display name; none when absent or not a string.
    pub name: Option<Label>,
    /// The role; none when absent or not a string.
    pub role: Option<Label>,
    /// The exact metadata.
    pub metadata: Result<Metadata, NotRepresentable>,
    /// The tracks, which only the peer endpoint includes.
    pub tracks: Option<Tracks>,
    /// When the peer joined; none for the zero time.
    pub joined_at: Option<Timestamp>,
}

impl UpstreamPeer {
    /// A peer of which nothing but its id is known.
    fn bare(peer_id: String) -> Self {
        Self {
            peer_id,
            user_id: String::new(),
            name: None,
            role: None,
            metadata: Ok(Metadata::NONE),
            tracks: None,
            joined_at: None,
        }
    }

    /// Reads the entry of a list with this id. Of a value that is not an object, only the id is known.
    pub(super) fn read(peer_id: String, json: &str) -> Self {
        let mut peer = Self::bare(peer_id);
        let mut reader = Reader::new(json);
        let object = reader.each_entry(|field, value| peer.set(field.as_bytes(), value));
        debug_assert!(object.is_ok(), "the entry was found in JSON");
        peer
    }

    fn set(&mut self, field: &[u8], value: &mut Reader<'_>) -> Result<(), NotJson> {
        match field {
            b"id" => {
                if let Some(id) = value.exact()?.filter(|id| !id.is_empty()) {
                    self.peer_id = id.into_owned();
                }
            }
            b"user_id" => self.user_id = value.exact()?.unwrap_or_default().into_owned(),
            b"name" => self.name = value.label()?,
            b"role" => self.role = value.label()?,
            b"metadata" => self.metadata = value.metadata()?,
            b"tracks" => self.tracks = value.tracks()?,
            b"joined_at" => self.joined_at = value.timestamp()?,
            _ => value.skip()?,
        }
        Ok(())
    }
}

/// Reads the answer of the peer endpoint.
///
/// # Errors
/// [`HmsError::BadResponse`] when it is not a JSON object or describes another peer.
pub(in crate::hms) fn read_peer(body: &[u8], requested: &PeerId) -> Result<UpstreamPeer, HmsError> {
    let json = wire::decode(body);
    let mut peer = UpstreamPeer::bare(requested.as_str().to_owned());
    let mut reader = Reader::new(&json);
    let object = reader.each_entry(|field, value| peer.set(field.as_bytes(), value));
    if object != Ok(true) || reader.end().is_err() {
        return Err(bad_response("the peer is not a JSON object"));
    }
    if peer.peer_id == requested.as_str() {
        Ok(peer)
    } else {
        Err(bad_response("it describes another peer"))
    }
}

pub(super) fn bad_response(what: &str) -> HmsError {
    HmsError::BadResponse(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requested() -> PeerId {
        PeerId::parse("p").unwrap()
    }

    fn read(json: &str) -> UpstreamPeer {
        read_peer(json.as_bytes(), &requested()).unwrap()
    }

    fn raw(peer: &UpstreamPeer) -> Option<&str> {
        peer.metadata.as_ref().unwrap().raw()
    }

    #[test]
    fn the_documented_peer_is_read() {
        let peer = read(
            r#"{"id":"p","name":"nixon","user_id":"u","metadata":{ "Lower_hand": true },"role":"backstage",
                "joined_at":"2022-10-06T05:22:41.635589462Z","tracks":{"t":{"mute":false}},"new":[1]}"#,
        );
        assert_eq!(
            peer,
            UpstreamPeer {
                peer_id: "p".into(),
                user_id: "u".into(),
                name: Some(Label::new("nixon")),
                role: Some(Label::new("backstage")),
                metadata: Ok(Metadata::from_text(r#"{ "Lower_hand": true }"#)),
                tracks: Tracks::from_wire(r#"{"t":{"mute":false}}"#),
                joined_at: Timestamp::parse("2022-10-06T05:22:41.635589Z"),
            }
        );
    }

    #[test]
    fn every_form_of_metadata_has_its_exact_text() {
        for (wire, text) in [
            (r#""""#, Some("")),
            ("null", None),
            (r#""plain""#, Some("plain")),
            ("{ \"b\":1, \"b\":2 }", Some("{ \"b\":1, \"b\":2 }")),
            ("[ 1.000 ]", Some("[ 1.000 ]")),
            ("1e400", Some("1e400")),
            ("false", Some("false")),
            (r#""a\u0000b""#, Some("a\0b")),
        ] {
            assert_eq!(
                raw(&read(&format!(r#"{{"id":"p","metadata": {wire} }}"#))),
                text,
                "{wire}"
            );
        }
        assert_eq!(raw(&read("{}")), None);
    }

    #[test]
    fn odd_fields_count_as_absent() {
        let odd = r#"{"id":7,"user_id":{},"name":3,"role":[],"tracks":"none","joined_at":"0001-01-01T00:00:00Z"}"#;
        assert_eq!(read(odd), UpstreamPeer::bare("p".into()));
        assert_eq!(
            read(r#"{"id":null,"user_id":null,"name":null,"joined_at":5}"#),
            UpstreamPeer::bare("p".into())
        );
        assert_eq!(
            read(r#"{"id":"","user_id":"\ud800"}"#),
            UpstreamPeer::bare("p".into())
        );
        assert_eq!(
            read(r#"{"name":"x\ud800y"}"#).name,
            Some(Label::new("x\u{fffd}y"))
        );
    }

    #[test]
    fn what_is_not_documented_is_refused_without_quoting_it() {
        for body in [
            "",
            "<html>secret</html>",
            "null",
            "[]",
            "\"secret\"",
            r#"{"id":"secret"}"#,
            r#"{"id":"p""#,
        ] {
            let Err(HmsError::BadResponse(reason)) = read_peer(body.as_bytes(), &requested())
            else {
                panic!("{body}")
            };
            assert!(!reason.contains("secret"), "{reason}");
        }
    }

    #[test]
    fn hostile_nesting_is_metadata_like_any_other() {
        let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
        assert_eq!(
            raw(&read(&format!(r#"{{"metadata":{deep},"tracks":{deep}}}"#))),
            Some(&*deep)
        );
    }
}
