//! Metadata: an untrusted text that comes back byte for byte, and how it is shown as JSON.

use std::sync::Arc;

use serde_json::value::RawValue;

/// The deepest nesting that is still shown as JSON; deeper text is shown as a JSON string.
pub const MAX_JSON_DEPTH: usize = 100;

/// The exact metadata of a peer.
///
/// Of a JSON string on the wire its content, of any other JSON value its text as it came, of `null` or nothing: none.
/// The text may hold anything a string can, NUL characters included.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Metadata(Option<Arc<str>>);

/// The metadata on the wire is a JSON string with a lone surrogate (`"\ud800"`): no text of Unicode characters is equal
/// to it, so it could only be kept altered. It is refused instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the metadata holds a lone UTF-16 surrogate, which no Unicode text can represent")]
pub struct NotRepresentable;

impl Metadata {
    /// `null` or absent on the wire.
    pub const NONE: Self = Self(None);

    /// Metadata of exactly this text.
    pub fn from_text(text: impl Into<Arc<str>>) -> Self {
        Self(Some(text.into()))
    }

    /// Reads the JSON value that 100ms sent, whatever its type.
    ///
    /// # Errors
    /// [`NotRepresentable`] when it is a string with a lone surrogate.
    pub fn from_wire(value: &RawValue) -> Result<Self, NotRepresentable> {
        match value.get() {
            "null" => Ok(Self::NONE),
            text if text.starts_with('"') => serde_json::from_str::<String>(text)
                .map(Self::from_text)
                .map_err(|_| NotRepresentable),
            text => Ok(Self::from_text(text)),
        }
    }

    /// The exact text, or none.
    pub fn raw(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Whether nothing is set: 100ms gives a new peer `""`, and `null` says no more.
    pub fn is_empty(&self) -> bool {
        self.0.as_deref().is_none_or(str::is_empty)
    }

    /// The length of the exact text, in bytes.
    pub fn len(&self) -> usize {
        self.0.as_deref().map_or(0, str::len)
    }

    /// The text as JSON, for the `metadata` field of an answer: itself, untouched, when it is JSON that any client can
    /// parse; else as a JSON string; `None` when it is empty.
    ///
    /// Numbers keep every digit, objects their key order and duplicate keys. Text that nests deeper than
    /// [`MAX_JSON_DEPTH`], and text with an escaped lone surrogate (which strict parsers refuse, and with it the whole
    /// answer), count as text.
    pub fn as_json(&self) -> Option<Box<RawValue>> {
        let text = self.raw().filter(|text| !text.is_empty())?;
        let json = serde_json::from_str::<&RawValue>(text)
            .ok()
            .filter(|json| depth(json.get()) <= MAX_JSON_DEPTH && !has_lone_surrogate(json.get()))
            .map(ToOwned::to_owned);
        Some(json.unwrap_or_else(|| as_json_string(text)))
    }
}

/// Shows the size only: metadata never reaches a log.
impl std::fmt::Debug for Metadata {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.raw() {
            None => f.write_str("Metadata(none)"),
            Some(text) => write!(f, "Metadata({} bytes)", text.len()),
        }
    }
}

fn as_json_string(text: &str) -> Box<RawValue> {
    serde_json::value::to_raw_value(text).expect("a string is always JSON")
}

/// The deepest nesting of arrays and objects in a valid JSON text. A scan, so that hostile depth costs no stack.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth -= 1,
            _ => {}
        }
    }
    deepest
}

/// Whether a valid JSON text escapes half of a surrogate pair (`\ud800` without its other half).
fn has_lone_surrogate(json: &str) -> bool {
    let mut rest = json.as_bytes();
    while let Some(at) = rest.iter().position(|&byte| byte == b'\\') {
        rest = &rest[at..];
        match (code_unit(rest), rest.get(6..).and_then(code_unit)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => rest = &rest[12..],
            (Some(0xD800..=0xDFFF), _) => return true,
            (Some(_), _) => rest = &rest[6..],
            (None, _) => rest = &rest[2..],
        }
    }
    false
}

/// The code unit of a `\uXXXX` escape at the start of `json`.
fn code_unit(json: &[u8]) -> Option<u16> {
    let digits = json.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(json: &str) -> Result<Metadata, NotRepresentable> {
        Metadata::from_wire(serde_json::from_str(json).unwrap())
    }

    fn shown(text: &str) -> String {
        Metadata::from_text(text)
            .as_json()
            .unwrap()
            .get()
            .to_owned()
    }

    #[test]
    fn the_wire_forms_give_their_exact_text() {
        assert_eq!(wire("null").unwrap().raw(), None);
        assert_eq!(wire(r#""""#).unwrap().raw(), Some(""));
        assert_eq!(
            wire(r#""{\"hp\":71}""#).unwrap().raw(),
            Some(r#"{"hp":71}"#)
        );
        assert_eq!(
            wire(r#"{ "b": 1,  "a": 2, "b": 3 }"#).unwrap().raw(),
            Some(r#"{ "b": 1,  "a": 2, "b": 3 }"#)
        );
        assert_eq!(wire("1e400").unwrap().raw(), Some("1e400"));
        assert_eq!(wire("false").unwrap().raw(), Some("false"));
        assert_eq!(wire(r#""a\u0000b""#).unwrap().raw(), Some("a\0b"));
        assert_eq!(wire(r#""a\\u0000b""#).unwrap().raw(), Some(r"a\u0000b"));
        assert_eq!(wire(r#""\ud83d\ude00""#).unwrap().raw(), Some("😀"));
    }

    #[test]
    fn a_lone_surrogate_is_refused_not_altered() {
        for json in [r#""\ud800""#, r#""x\udc00y""#, r#""\ud800\ud800""#] {
            assert_eq!(wire(json), Err(NotRepresentable), "{json}");
        }
    }

    #[test]
    fn json_is_shown_untouched_and_all_else_as_a_string() {
        let digits = "9".repeat(400);
        for json in [
            r#"{"b":1,"a":2,"b":3}"#,
            &digits,
            "[1.000,-0,1e999]",
            r#""text""#,
            r#"{"a":"\u0000"}"#,
            "null",
            r#""\ud83d\ude00""#,
        ] {
            assert_eq!(shown(json), json);
        }
        assert_eq!(shown(" {} \n"), "{}");
        assert_eq!(shown("plain text"), r#""plain text""#);
        assert_eq!(shown("{"), r#""{""#);
        assert_eq!(shown("a\0b"), r#""a\u0000b""#);
        assert_eq!(shown(r#"{"a":"\ud800"}"#), r#""{\"a\":\"\\ud800\"}""#);
        assert_eq!(shown(r#"{"a":"\\ud800"}"#), r#"{"a":"\\ud800"}"#);
        assert!(Metadata::NONE.as_json().is_none());
        assert!(Metadata::from_text("").as_json().is_none());
    }

    #[test]
    fn depth_is_bounded_without_recursion() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert_eq!(shown(&nested(100)), nested(100));
        assert_eq!(shown(&nested(101)), format!("\"{}\"", nested(101)));
        assert_eq!(shown(&nested(1_000_000)).len(), 2_000_002);
        let brackets_in_a_string = format!(r#""{}\"{}""#, "[".repeat(200), "{".repeat(200));
        assert_eq!(shown(&brackets_in_a_string), brackets_in_a_string);
    }

    #[test]
    fn debug_shows_no_content() {
        assert_eq!(
            format!("{:?}", Metadata::from_text("secret")),
            "Metadata(6 bytes)"
        );
    }
}
