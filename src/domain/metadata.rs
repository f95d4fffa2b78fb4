//! Metadata: an untrusted text that is returned byte for byte, and how an answer shows it as JSON.

use std::sync::Arc;

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The deepest nesting that an answer shows as JSON. Deeper text is shown as a JSON string.
pub const MAX_JSON_DEPTH: usize = 100;

/// The exact metadata of a peer.
///
/// A JSON string on the wire gives its content, any other JSON value its text as it came, and
/// `null` or nothing gives none. The text may contain whatever a string can, NUL characters
/// included.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Metadata(Option<Arc<str>>);

/// The metadata on the wire is a JSON string with a lone surrogate (`"\ud800"`). No Unicode text
/// equals it, so it could only be stored altered. It is rejected instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the metadata contains a lone UTF-16 surrogate, which no Unicode text can represent")]
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

    /// A digest of the exact text, to compare with later.
    pub fn digest(&self) -> Uuid {
        let digest = Sha256::digest(self.raw().unwrap_or_default().as_bytes());
        let bytes = digest[..16]
            .try_into()
            .expect("a SHA-256 digest is longer than 16 bytes");
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }

    /// Whether nothing is set: 100ms gives a new peer `""`, and `null` means the same.
    pub fn is_empty(&self) -> bool {
        self.0.as_deref().is_none_or(str::is_empty)
    }

    /// The length of the exact text, in bytes.
    pub fn len(&self) -> usize {
        self.0.as_deref().map_or(0, str::len)
    }

    /// The text as JSON, for the `metadata` field of an answer: unchanged where it is JSON that
    /// every client can parse, else as a JSON string. `None` when it is empty.
    ///
    /// Numbers retain every digit, and objects their key order and duplicate keys. Text that nests
    /// deeper than [`MAX_JSON_DEPTH`] becomes a string. So does text with an escaped lone
    /// surrogate, for which a strict parser would reject the whole answer.
    pub fn as_json(&self) -> Option<Box<RawValue>> {
        let text = self.raw().filter(|text| !text.is_empty())?;
        let json = serde_json::from_str::<&RawValue>(text)
            .ok()
            .filter(|json| depth(json.get()) <= MAX_JSON_DEPTH && !has_lone_surrogate(json.get()))
            .map(ToOwned::to_owned);
        Some(json.unwrap_or_else(|| as_json_string(text)))
    }
}

/// Shows only the size: metadata never reaches a log.
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

/// The deepest nesting of arrays and objects in a valid JSON text. It scans instead of recursing,
/// so that hostile depth costs no stack.
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

/// Whether a valid JSON text escapes only one half of a surrogate pair.
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
    fn each_form_on_the_wire_gives_its_exact_text() {
        for (json, raw) in [
            ("null", None),
            (r#""""#, Some("")),
            (r#""{\"hp\":71}""#, Some(r#"{"hp":71}"#)),
            (
                r#"{ "b": 1,  "a": 2, "b": 3 }"#,
                Some(r#"{ "b": 1,  "a": 2, "b": 3 }"#),
            ),
            ("1e400", Some("1e400")),
            ("false", Some("false")),
            (r#""a\u0000b""#, Some("a\0b")),
            (r#""a\\u0000b""#, Some(r"a\u0000b")),
            (r#""\ud83d\ude00""#, Some("😀")),
        ] {
            assert_eq!(wire(json).unwrap().raw(), raw, "{json}");
        }
    }

    #[test]
    fn a_lone_surrogate_is_rejected_not_altered() {
        for json in [r#""\ud800""#, r#""x\udc00y""#, r#""\ud800\ud800""#] {
            assert_eq!(wire(json), Err(NotRepresentable), "{json}");
        }
    }

    #[test]
    fn json_is_shown_unchanged_and_all_else_as_a_string() {
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
        for (text, json) in [
            (" {} \n", "{}"),
            ("plain text", r#""plain text""#),
            ("{", r#""{""#),
            ("a\0b", r#""a\u0000b""#),
            (r#"{"a":"\ud800"}"#, r#""{\"a\":\"\\ud800\"}""#),
            (r#"{"a":"\\ud800"}"#, r#"{"a":"\\ud800"}"#),
        ] {
            assert_eq!(shown(text), json);
        }
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

    #[test]
    fn siblings_and_brackets_in_strings_are_no_depth() {
        let siblings = format!("[{}{{}}]", "[],".repeat(200));
        assert_eq!(shown(&siblings), siblings);
        let closing = r#"["]]}}",{"}":"]"}]"#;
        assert_eq!(shown(closing), closing);
        let deep = format!(r#"["]]]",{}{}]"#, "[".repeat(100), "]".repeat(100));
        assert!(shown(&deep).starts_with('"'));
    }
}
