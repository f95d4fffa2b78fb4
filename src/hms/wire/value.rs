//! A value of 100ms's JSON, read as what a field should hold.
//!
//! A value of another type counts as absent. Ids must be exact, since an altered id could be that
//! of somebody else; labels are only shown to people and may be altered.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{NOT_UTF8, NotAnObject, Text, each_entry};
use crate::domain::{Label, Metadata, NotRepresentable, Timestamp, Tracks};

/// A JSON value that has not been parsed yet.
#[derive(Debug, Clone, Copy)]
pub(in crate::hms) struct Value<'a>(&'a RawValue);

impl<'a> Value<'a> {
    pub(super) fn new(json: &'a RawValue) -> Self {
        Self(json)
    }

    /// Whether it is `null`.
    pub(in crate::hms) fn is_null(self) -> bool {
        self.0.get() == "null"
    }

    /// The content of a string.
    pub(in crate::hms) fn text(self) -> Option<Text<'a>> {
        let json = self.0.get();
        if json.starts_with('"') {
            serde_json::from_str(json).ok()
        } else {
            None
        }
    }

    /// The content of a string that is exactly known: an id, or a name of 100ms's own.
    pub(in crate::hms) fn exact(self) -> Option<Cow<'a, str>> {
        self.text()?.exact()
    }

    /// A text to show; U+FFFD stands for what is not Unicode.
    pub(in crate::hms) fn label(self) -> Option<Label> {
        Some(Label::new(&self.text()?.lossy()))
    }

    /// A time; none for the zero time, which is how 100ms writes "none".
    pub(in crate::hms) fn timestamp(self) -> Option<Timestamp> {
        Timestamp::parse_upstream(&self.exact()?)
    }

    /// The exact metadata, whatever the type of the value.
    ///
    /// # Errors
    /// [`NotRepresentable`] when no Unicode text is equal to it.
    pub(in crate::hms) fn metadata(self) -> Result<Metadata, NotRepresentable> {
        let json = self.0.get();
        // Of a string, `from_wire` refuses these bytes itself.
        if !json.starts_with('"') && json.contains(NOT_UTF8) {
            return Err(NotRepresentable);
        }
        Metadata::from_wire(self.0)
    }

    /// The tracks; U+FFFD stands for what is not Unicode in them.
    pub(in crate::hms) fn tracks(self) -> Option<Tracks> {
        Tracks::from_wire(&without_lone_surrogates(self.0.get()))
    }

    /// Calls `each` with every entry of an object; see [`each_entry`].
    ///
    /// # Errors
    /// When it is not an object.
    pub(in crate::hms) fn each_entry(
        self,
        each: impl FnMut(Text<'a>, Value<'a>),
    ) -> Result<(), NotAnObject> {
        each_entry(self.0.get(), each)
    }
}

/// The same JSON, with U+FFFD for each escaped half of a surrogate pair.
fn without_lone_surrogates(json: &str) -> Cow<'_, str> {
    const ESCAPE: usize = r"\uXXXX".len();
    let mut replaced = String::new();
    // Of `json`: up to where it is in `replaced`, and where the next escape is looked for.
    let (mut copied, mut from) = (0, 0);
    while let Some(found) = json[from..].find('\\') {
        let at = from + found;
        from = match (code_unit(json, at), code_unit(json, at + ESCAPE)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => at + 2 * ESCAPE,
            (Some(0xD800..=0xDFFF), _) => {
                replaced.push_str(&json[copied..at]);
                replaced.push('\u{fffd}');
                copied = at + ESCAPE;
                copied
            }
            // An escape of one other character, which is ASCII in valid JSON.
            _ => at + 2,
        };
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    replaced.push_str(&json[copied..]);
    Cow::Owned(replaced)
}

/// The code unit of a `\uXXXX` escape at this index of a valid JSON text.
fn code_unit(json: &str, at: usize) -> Option<u16> {
    let digits = json.get(at..at + 6)?.strip_prefix("\\u")?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(json: &str) -> Value<'_> {
        Value(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn only_strings_have_text() {
        assert_eq!(value(r#""x""#).exact().as_deref(), Some("x"));
        for other in ["1", "null", "[65,66]", "{}", "true"] {
            assert_eq!(value(other).text(), None, "{other}");
            assert_eq!(value(other).label(), None, "{other}");
            assert_eq!(value(other).timestamp(), None, "{other}");
        }
    }

    #[test]
    fn lone_surrogates_in_tracks_are_replaced() {
        for (json, tracks) in [
            (r#"{"a":"\ud800"}"#, "{\"a\":\"\u{fffd}\"}"),
            (r#"{"\udc00a":"x"}"#, "{\"\u{fffd}a\":\"x\"}"),
            (
                r#"{"a":"1\ud800\ud83d\ude00\\ud800\uFfFd\udFfF2"}"#,
                "{\"a\":\"1\u{fffd}😀\\\\ud800\u{fffd}\u{fffd}2\"}",
            ),
            (r#"{"a":"\"⚔\\"}"#, r#"{"a":"\"⚔\\"}"#),
        ] {
            let read = value(json).tracks().unwrap();
            assert_eq!(read.as_str(), tracks, "{json}");
        }
    }

    #[test]
    fn metadata_with_bytes_that_are_not_utf8_is_refused_whatever_its_type() {
        for body in [&b"{\"m\":\"\xff\"}"[..], b"{\"m\":[\"\xff\"]}"] {
            let json = super::super::decode(body);
            each_entry(&json, |_, value| {
                assert_eq!(value.metadata(), Err(NotRepresentable));
            })
            .unwrap();
        }
        // An escape in a value that is not a string is part of its exact text.
        let escaped = value(r#"{"a":"\ud800"}"#).metadata().unwrap();
        assert_eq!(escaped.raw(), Some(r#"{"a":"\ud800"}"#));
    }
}
