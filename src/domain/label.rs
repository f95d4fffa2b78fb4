//! Labels: short texts that 100ms gives and that are stored as they are.

use std::sync::Arc;

/// A display name, a role, a session id or a reason.
/// Postgres cannot store a NUL character, so U+FFFD stands for each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(Arc<str>);

impl Label {
    /// A label with this text.
    pub fn new(text: &str) -> Self {
        Self(replace_nul(text).into())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text with U+FFFD in place of each NUL character.
pub(super) fn replace_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
