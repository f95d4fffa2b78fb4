//! Scopes: what an API key may be used for.

use std::collections::BTreeSet;

/// What a key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Fetch peers from 100ms and save them.
    Snapshot,
    /// Read, restore and claim a user's saved state.
    Resume,
    /// Read a user's history.
    History,
    /// Everything.
    Admin,
}

impl Scope {
    pub(super) const ALL: [Self; 4] = [Self::Snapshot, Self::Resume, Self::History, Self::Admin];

    /// The name in settings, in messages and in the description of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Resume => "resume",
            Self::History => "history",
            Self::Admin => "admin",
        }
    }
}

/// Reads `snapshot+resume`.
pub(super) fn parse_scopes(text: &str) -> Option<BTreeSet<Scope>> {
    text.split('+')
        .map(|name| {
            Scope::ALL
                .into_iter()
                .find(|scope| scope.as_str() == name.trim())
        })
        .collect()
}
