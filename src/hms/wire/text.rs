//! Strings of JSON, whatever they hold: 100ms passes on lone surrogates, which serde refuses.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// The content of a JSON string: UTF-8, except that a lone surrogate stands in it as three bytes.
///
/// Borrowed from the JSON where that has no escapes.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::hms) struct Text<'a>(Cow<'a, [u8]>);

impl<'a> Text<'a> {
    /// The bytes, to compare with a text that is known.
    pub(in crate::hms) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, unless it holds a lone surrogate.
    pub(in crate::hms) fn exact(self) -> Option<Cow<'a, str>> {
        match self.0 {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
        }
    }

    /// The text, with U+FFFD for each lone surrogate.
    pub(in crate::hms) fn lossy(self) -> Cow<'a, str> {
        match self.0 {
            Cow::Borrowed(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Cow::Borrowed(text),
                Err(_) => Cow::Owned(replace_surrogates(bytes)),
            },
            Cow::Owned(bytes) => Cow::Owned(
                String::from_utf8(bytes)
                    .unwrap_or_else(|error| replace_surrogates(error.as_bytes())),
            ),
        }
    }
}

fn replace_surrogates(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        // Each of a surrogate's three bytes is a chunk of its own; the first is always 0xED.
        if chunk.invalid() == [0xED] {
            text.push('\u{fffd}');
        }
    }
    text
}

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Of all targets, serde_json accepts lone surrogates only in bytes.
        deserializer.deserialize_bytes(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Borrowed(bytes)))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(bytes.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str) -> Text<'_> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn lone_surrogates_are_replaced_or_refused() {
        let odd = r#""a\ud800\ud800b\udc00""#;
        assert_eq!(text(odd).lossy(), "a\u{fffd}\u{fffd}b\u{fffd}");
        assert_eq!(text(odd).exact(), None);
        let whole = r#""\ud83d\ude00\u0000ü""#;
        assert_eq!(text(whole).exact().unwrap(), "😀\0ü");
        assert_eq!(text(whole).lossy(), "😀\0ü");
    }

    #[test]
    fn a_text_is_compared_by_its_content() {
        assert_eq!(text(r#""us\u0065r""#).as_bytes(), b"user");
    }
}
