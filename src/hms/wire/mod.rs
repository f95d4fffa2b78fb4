//! The one reader of 100ms's JSON, for answers of its REST API and for its webhooks.
//!
//! It is lenient: an object is read entry by entry, and a value is parsed only when it is needed.
//! Peers set much of this JSON themselves, and one wrong field would make a derived serde struct
//! fail as a whole. What each field means is up to the callers.

mod text;
mod value;

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

pub(in crate::hms) use text::Text;
pub(in crate::hms) use value::Value;

/// What replaces each run of bytes that is not UTF-8: a lone surrogate, so that no exact string can
/// be read from it.
///
/// The U+FFFD before it separates it from an escape that it could form a pair with, or from a
/// backslash. The mix of upper and lower case distinguishes these escapes from those that a client
/// would write.
const NOT_UTF8: &str = r"\uFfFd\udFfF";

/// The text of a body. Bytes that are not UTF-8 damage the string they stand in and nothing else.
pub(in crate::hms) fn decode(body: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(body) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(body.len() + NOT_UTF8.len());
    for chunk in body.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push_str(NOT_UTF8);
        }
    }
    Cow::Owned(text)
}

/// Whether a text is JSON of any kind.
pub(in crate::hms) fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

/// The text is not one whole JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::hms) struct NotAnObject;

/// Calls `each` with every entry of the JSON object in `json`, in order, duplicate keys too.
///
/// Nested values are skipped without recursion, however deep they are.
///
/// # Errors
/// When `json` is not an object, or is incomplete; `each` was called for the entries before that.
pub(in crate::hms) fn each_entry<'a>(
    json: &'a str,
    each: impl FnMut(Text<'a>, Value<'a>),
) -> Result<(), NotAnObject> {
    let mut reader = serde_json::Deserializer::from_str(json);
    reader
        .deserialize_map(Entries(each))
        .and_then(|()| reader.end())
        .map_err(|_| NotAnObject)
}

struct Entries<F>(F);

impl<'de, F: FnMut(Text<'de>, Value<'de>)> Visitor<'de> for Entries<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some((key, value)) = map.next_entry()? {
            (self.0)(key, Value::new(value));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(json: &str) -> Result<Vec<String>, NotAnObject> {
        let mut keys = Vec::new();
        each_entry(json, |key, _| keys.push(key.lossy().into_owned())).map(|()| keys)
    }

    #[test]
    fn only_whole_objects_are_read() {
        assert_eq!(
            keys(r#" {"a": 1, "b" :[{}] , "a":null} "#).unwrap(),
            ["a", "b", "a"]
        );
        assert_eq!(
            keys(r#"{"\ud800x":1,"\n":2}"#).unwrap(),
            ["\u{fffd}x", "\n"]
        );
        for bad in [
            "",
            "null",
            "[]",
            "\"{}\"",
            "3",
            "<html>",
            "{",
            "{\"a\":1",
            "{}{}",
            "{\"a\":[}",
        ] {
            assert!(keys(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_damage_their_own_string_only() {
        for odd in [
            &b"\xff"[..],
            b"\xed\xa0\x80",
            b"\\ud800\xff\\udc00",
            b"\\\xff",
            b"\\\\\xff",
        ] {
            let body = [br#"{"odd":""#, odd, br#"","fine":"yes"}"#].concat();
            let json = decode(&body);
            let mut exact = Vec::new();
            each_entry(&json, |_, value| exact.push(value.exact().is_some())).unwrap();
            assert_eq!(exact, [false, true], "{odd:?}");
        }
    }

    #[test]
    fn valid_utf8_is_not_copied() {
        let json = decode(r#"{"ü":"⚔"}"#.as_bytes());
        assert!(matches!(json, Cow::Borrowed(_)));
        each_entry(&json, |key, value| {
            assert!(matches!(key.lossy(), Cow::Borrowed("ü")));
            assert!(matches!(value.exact(), Some(Cow::Borrowed("⚔"))));
        })
        .unwrap();
    }

    #[test]
    fn hostile_nesting_costs_no_stack() {
        let deep = "[".repeat(1_000_000);
        assert!(keys(&deep).is_err());
        assert!(keys(&format!(r#"{{"a":{deep}"#)).is_err());
        assert_eq!(
            keys(&format!(r#"{{"a":{deep}{}}}"#, "]".repeat(1_000_000))).unwrap(),
            ["a"]
        );
        assert!(keys(&r#"{"a":"#.repeat(300_000)).is_err());
        assert!(!is_json(&deep));
        assert!(is_json(&(deep + &"]".repeat(1_000_000))));
    }
}
