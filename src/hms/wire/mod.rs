//! The one reader of 100ms's JSON, for answers of its REST API and for its webhooks.
//!
//! It is lenient: an object is read entry by entry, in one pass, and each value by itself.
//! Peers set much of this JSON themselves, and one wrong field would make a derived serde struct
//! fail as a whole. What each field means is up to the callers.

mod reader;
mod surrogates;
mod text;

use std::borrow::Cow;

pub(in crate::hms) use reader::{NotJson, Reader};
pub(in crate::hms) use text::Text;

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

/// As [`decode`], without a copy where the body is UTF-8.
pub(in crate::hms) fn into_text(body: Vec<u8>) -> String {
    String::from_utf8(body).unwrap_or_else(|error| decode(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let object = Reader::new(&json).each_entry(|_, value| {
                exact.push(value.exact()?.is_some());
                Ok(())
            });
            assert_eq!((object, exact), (Ok(true), vec![false, true]), "{odd:?}");
        }
    }

    #[test]
    fn valid_utf8_is_not_copied() {
        let json = decode(r#"{"ü":"⚔"}"#.as_bytes());
        assert!(matches!(json, Cow::Borrowed(_)));
        let object = Reader::new(&json).each_entry(|key, value| {
            assert!(matches!(key.lossy(), Cow::Borrowed("ü")));
            assert!(matches!(value.exact(), Ok(Some(Cow::Borrowed("⚔")))));
            Ok(())
        });
        assert_eq!(object, Ok(true));
    }
}
