//! JSON read leniently: an object entry by entry, strings whatever they hold.
//!
//! serde's derived structs fail as a whole on one wrong field. Peers set much of what is read here themselves, so what one
//! of them sent must not hide the others. Values stay raw until they are asked for: skipping them costs no stack, however
//! deeply they nest.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The text of a body. Bytes that are no UTF-8 become escapes that no string can be read from exactly, so that they harm
/// the string they stand in and nothing else.
pub(in crate::hms) fn text(body: Vec<u8>) -> String {
    // Two, because one could complete a surrogate pair with an escape before it; after a backslash one is left over.
    const NO_TEXT: &str = r"\udfff\udfff";
    String::from_utf8(body).unwrap_or_else(|not_utf8| {
        let chunks = not_utf8.as_bytes().utf8_chunks();
        chunks
            .map(|chunk| {
                chunk.valid().to_owned()
                    + if chunk.invalid().is_empty() {
                        ""
                    } else {
                        NO_TEXT
                    }
            })
            .collect()
    })
}

/// Gives each entry of the JSON object in `json` to `each`, in order, duplicate keys too.
///
/// # Errors
/// When `json` is no object, or breaks off; entries before that have been given.
pub(in crate::hms) fn each_entry<'a>(
    json: &'a str,
    each: impl FnMut(Text, &'a RawValue),
) -> Result<(), serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(json);
    reader.deserialize_map(Entries(each))?;
    reader.end()
}

struct Entries<F>(F);

impl<'de, F: FnMut(Text, &'de RawValue)> Visitor<'de> for Entries<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some((key, value)) = map.next_entry()? {
            (self.0)(key, value);
        }
        Ok(())
    }
}

/// The content of a JSON string: UTF-8, but for lone surrogates, which stand in it as their three bytes.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::hms) struct Text(Vec<u8>);

impl Text {
    /// The content of `value`, if it is a string.
    pub(in crate::hms) fn of(value: &RawValue) -> Option<Self> {
        serde_json::from_str(value.get()).ok()
    }

    /// The text, unless it holds a lone surrogate.
    pub(in crate::hms) fn exact(self) -> Option<String> {
        String::from_utf8(self.0).ok()
    }

    /// The text, with U+FFFD for each lone surrogate.
    pub(in crate::hms) fn lossy(self) -> String {
        String::from_utf8(self.0).unwrap_or_else(|odd| {
            // Each of a surrogate's three bytes is a chunk of its own; the first is always 0xED.
            let mark = |invalid: &[u8]| if invalid == [0xED] { "\u{fffd}" } else { "" };
            odd.as_bytes()
                .utf8_chunks()
                .map(|chunk| chunk.valid().to_owned() + mark(chunk.invalid()))
                .collect()
        })
    }

    /// Whether this is exactly `text`.
    pub(in crate::hms) fn is(&self, text: &str) -> bool {
        self.0 == text.as_bytes()
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Asked for bytes, serde_json lets lone surrogates pass.
        deserializer.deserialize_bytes(TextVisitor)
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Text, E> {
        Ok(Text(bytes.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(json: &str) -> Result<Vec<String>, serde_json::Error> {
        let mut keys = Vec::new();
        each_entry(json, |key, _| keys.push(key.lossy())).map(|()| keys)
    }

    fn string(json: &str) -> Option<Text> {
        Text::of(serde_json::from_str(json).unwrap())
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
    fn lone_surrogates_are_marked_or_refused() {
        let odd = r#""a\ud800\ud800b\udc00""#;
        assert_eq!(string(odd).unwrap().lossy(), "a\u{fffd}\u{fffd}b\u{fffd}");
        assert_eq!(string(odd).unwrap().exact(), None);
        assert_eq!(
            string(r#""\ud83d\ude00\u0000ü""#).unwrap().exact().unwrap(),
            "😀\0ü"
        );
        for other in ["1", "null", "[65,66]", "{}", "true"] {
            assert_eq!(string(other), None, "{other}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_harm_their_own_string_only() {
        for odd in [
            &b"\xff"[..],
            b"\xed\xa0\x80",
            b"\\ud800\xff\\udc00",
            b"\\\xff",
            b"\\\\\xff",
        ] {
            let body = [br#"{"odd":""#, odd, br#"","fine":"yes"}"#].concat();
            let json = text(body);
            let (mut read, mut exact) = (0, 0);
            each_entry(&json, |_, value| {
                read += 1;
                exact += usize::from(Text::of(value).unwrap().exact().is_some());
            })
            .unwrap();
            assert_eq!((read, exact), (2, 1), "{odd:?}");
        }
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
    }
}
