//! Labels: short texts that 100ms gives and that are stored as they are.

use std::sync::Arc;

/// The maximum length of a label, in characters. An index can hold two of this length.
const MAX_LABEL_CHARS: usize = 256;

/// A display name, a role, a session id or a reason. A longer text is cut at 256 characters.
/// Postgres cannot store a NUL character, so U+FFFD stands for each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(Arc<str>);

impl Label {
    /// A label with this text.
    pub fn new(text: &str) -> Self {
        let end = text
            .char_indices()
            .nth(MAX_LABEL_CHARS)
            .map_or(text.len(), |(end, _)| end);
        Self(replace_nul(&text[..end]).into())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its size, in bytes.
    pub(super) fn size(&self) -> usize {
        self.0.len()
    }
}

/// The text with U+FFFD in place of each NUL character.
pub(super) fn replace_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_cut_at_a_character() {
        for (text, label) in [
            ("", String::new()),
            ("a\0b", "a\u{fffd}b".to_owned()),
            (&"x".repeat(256), "x".repeat(256)),
            (&"x".repeat(1 << 20), "x".repeat(256)),
            (&"⚔".repeat(257), "⚔".repeat(256)),
        ] {
            assert_eq!(Label::new(text).as_str(), label);
        }
    }
}
