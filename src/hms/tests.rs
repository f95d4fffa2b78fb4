//! The same values read from an answer of the REST API and from a webhook: they come out the same.

use super::rest::read_peer;
use super::webhook::{WebhookEvent, parse};
use crate::domain::{Label, Metadata, NotRepresentable, PeerId, Timestamp};

/// What both directions say of one peer.
#[derive(Debug, Clone, PartialEq)]
struct Read {
    name: Option<Label>,
    role: Option<Label>,
    joined_at: Option<Timestamp>,
    metadata: Result<Metadata, NotRepresentable>,
}

/// A JSON object with these members.
fn object(members: &[(&str, &[u8])]) -> Vec<u8> {
    let members: Vec<Vec<u8>> = members
        .iter()
        .map(|(key, value)| [format!("\"{key}\":").as_bytes(), value].concat())
        .collect();
    [b"{", members.join(&b',').as_slice(), b"}"].concat()
}

/// `value` as each field of a peer that the REST API describes.
fn through_rest(value: &[u8]) -> Read {
    let fields = ["name", "role", "joined_at", "metadata"].map(|field| (field, value));
    let ids: [(&str, &[u8]); 2] = [("id", b"\"p\""), ("user_id", b"\"u\"")];
    let body = object(&[&ids[..], &fields].concat());
    let peer = read_peer(&body, &PeerId::parse("p").unwrap()).unwrap();
    assert_eq!(peer.user_id, "u");
    Read {
        name: peer.name,
        role: peer.role,
        joined_at: peer.joined_at,
        metadata: peer.metadata,
    }
}

/// `value` as each field of a peer that a webhook describes.
fn through_webhook(value: &[u8]) -> Read {
    let fields = ["user_name", "role", "joined_at", "user_data"].map(|field| (field, value));
    let ids: [(&str, &[u8]); 3] = [
        ("user_id", b"\"u\""),
        ("room_id", b"\"r\""),
        ("peer_id", b"\"p\""),
    ];
    let data = object(&[&ids[..], &fields].concat());
    let body = object(&[
        ("type", b"\"role.change.success\""),
        ("timestamp", b"\"2026-03-01T10:06:12Z\""),
        ("data", &data),
    ]);
    let WebhookEvent::Peer(event) = parse(&body).unwrap().1 else {
        panic!("{}", String::from_utf8_lossy(&body))
    };
    Read {
        name: event.name,
        role: event.role,
        joined_at: event.joined_at,
        metadata: event.metadata.unwrap_or(Ok(Metadata::NONE)),
    }
}

/// Reads `value` in both directions.
fn read(value: &[u8]) -> Read {
    let read = through_rest(value);
    let shown = String::from_utf8_lossy(value);
    assert_eq!(through_webhook(value), read, "{shown}");
    assert_eq!(read.name, read.role, "{shown}");
    read
}

#[test]
fn strings_are_read_whatever_they_hold() {
    let cases: [(&[u8], &str, Option<&str>); 10] = [
        (br#""plain""#, "plain", Some("plain")),
        (br#""""#, "", Some("")),
        ("\"ünï ⚔\"".as_bytes(), "ünï ⚔", Some("ünï ⚔")),
        (br#""{\"hp\":71}""#, r#"{"hp":71}"#, Some(r#"{"hp":71}"#)),
        (br#""a\u0000b""#, "a\u{fffd}b", Some("a\0b")),
        (br#""\ud83d\ude00""#, "😀", Some("😀")),
        (br#""a\ud800b""#, "a\u{fffd}b", None),
        (br#""\udc00\ud800""#, "\u{fffd}\u{fffd}", None),
        (b"\"a\xffb\"", "a\u{fffd}\u{fffd}b", None),
        (b"\"\\ud800\xff\"", "\u{fffd}\u{fffd}\u{fffd}", None),
    ];
    for (value, label, metadata) in cases {
        let read = read(value);
        let shown = String::from_utf8_lossy(value);
        assert_eq!(read.name, Some(Label::new(label)), "{shown}");
        let metadata = metadata.map(Metadata::from_text).ok_or(NotRepresentable);
        assert_eq!(read.metadata, metadata, "{shown}");
        assert_eq!(read.joined_at, None, "{shown}");
    }
}

#[test]
fn values_of_other_types_are_metadata_and_absent_elsewhere() {
    let cases: [(&[u8], Option<&str>); 7] = [
        (b"null", None),
        (b"true", Some("true")),
        (b"1e400", Some("1e400")),
        (b"[ 1.000 ]", Some("[ 1.000 ]")),
        (
            br#"{ "b":1, "b":"\ud800" }"#,
            Some(r#"{ "b":1, "b":"\ud800" }"#),
        ),
        (b"[65,66]", Some("[65,66]")),
        ("[\"⚔\"]".as_bytes(), Some("[\"⚔\"]")),
    ];
    for (value, metadata) in cases {
        let expected = Read {
            name: None,
            role: None,
            joined_at: None,
            metadata: Ok(metadata.map_or(Metadata::NONE, Metadata::from_text)),
        };
        assert_eq!(read(value), expected, "{}", String::from_utf8_lossy(value));
    }
    // The exact text of such a value cannot be stored either.
    for value in [&b"[\"\xff\"]"[..], b"{\"a\xff\":1}"] {
        assert_eq!(read(value).metadata, Err(NotRepresentable));
    }
}

#[test]
fn times_are_read_and_placeholders_are_none() {
    let joined_at = |value: &[u8]| read(value).joined_at;
    assert_eq!(
        joined_at(br#""2026-03-01T10:00:00.123456789Z""#),
        Timestamp::parse("2026-03-01T10:00:00.123456Z")
    );
    for none in [
        &br#""0001-01-01T00:00:00Z""#[..],
        br#""20XX-03-01T10:00:00Z""#,
        b"\"2026-03-01T10:00:00Z\xff\"",
        b"1772359200",
    ] {
        assert_eq!(joined_at(none), None);
    }
}

#[test]
fn an_id_is_exact_or_absent() {
    for (id, expected) in [
        (&br#""player\u002d7""#[..], Some("player-7")),
        ("\"ünï\"".as_bytes(), Some("ünï")),
        (b"\"player\xff\"", None),
        (br#""player\ud800""#, None),
        (b"7", None),
        (b"null", None),
    ] {
        let shown = String::from_utf8_lossy(id);
        let peer = object(&[("id", b"\"p\""), ("user_id", id)]);
        let peer = read_peer(&peer, &PeerId::parse("p").unwrap()).unwrap();
        assert_eq!(peer.user_id, expected.unwrap_or_default(), "{shown}");

        let data = object(&[
            ("user_id", id),
            ("room_id", b"\"r\""),
            ("peer_id", b"\"p\""),
        ]);
        let event = object(&[
            ("type", b"\"peer.join.success\""),
            ("timestamp", b"\"2026-03-01T10:06:12Z\""),
            ("data", &data),
        ]);
        let user_id = match parse(&event).unwrap().1 {
            WebhookEvent::Peer(event) => Some(event.user_id.to_string()),
            WebhookEvent::WithoutUser => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(user_id.as_deref(), expected, "{shown}");
    }
}
