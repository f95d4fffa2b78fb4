//! API keys: which there are, and what each may do.

use std::collections::BTreeSet;
use std::fmt;

use super::Scope;
use super::digest::{SecretDigest, find_by_secret};
use super::scope::parse_scopes;

/// Why a key entry cannot be used. Does not quote the entry, which may be a key that was put in the
/// wrong setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeyEntry {
    /// Not three parts.
    #[error("entry {0} is not of the form name:scope+scope:sha256-hex-of-key")]
    Form(usize),
    /// A name that logs cannot carry.
    #[error("the name of entry {0} should be 1 to 64 letters, digits, '-', '_' or '.'")]
    Name(usize),
    /// A scope that does not exist.
    #[error("entry {0} names a scope other than snapshot, resume, history and admin")]
    Scope(usize),
    /// Not a digest.
    #[error(
        "the last part of entry {0} should be the SHA-256 of the key in 64 hex digits (`rejoin key new` prints it)"
    )]
    Digest(usize),
    /// The name of an earlier entry.
    #[error("the name of entry {0} is taken by an entry before it")]
    Repeated(usize),
}

/// A key that may be used: `name:scope+scope:sha256-hex-of-key`.
#[derive(Clone)]
pub struct KeyEntry {
    name: String,
    scopes: BTreeSet<Scope>,
    digest: SecretDigest,
}

impl KeyEntry {
    /// `number` counts the entries of a setting from 1.
    fn parse(text: &str, number: usize) -> Result<Self, InvalidKeyEntry> {
        let mut parts = text.split(':');
        let (Some(name), Some(scopes), Some(digest), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidKeyEntry::Form(number));
        };
        let digest = SecretDigest::from_hex(digest).ok_or(InvalidKeyEntry::Digest(number))?;
        if !is_name(name) {
            return Err(InvalidKeyEntry::Name(number));
        }
        Ok(Self {
            name: name.to_owned(),
            scopes: parse_scopes(scopes).ok_or(InvalidKeyEntry::Scope(number))?,
            digest,
        })
    }

    /// The name in logs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the key may be used for this.
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }
}

/// Does not show the digest.
impl fmt::Debug for KeyEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyEntry")
            .field("name", &self.name)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

pub(super) fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// The keys that are known.
#[derive(Debug, Clone, Default)]
pub struct KeyRing(Vec<KeyEntry>);

impl KeyRing {
    /// Reads entries separated by commas or line ends; a line that begins with `#` is a comment.
    ///
    /// # Errors
    /// [`InvalidKeyEntry`] names the first bad entry by its number, from 1.
    pub fn parse(text: &str) -> Result<Self, InvalidKeyEntry> {
        let mut ring = Self::default();
        let entries = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .flat_map(|line| line.split(','))
            .map(str::trim)
            .filter(|entry| !entry.is_empty());
        for (number, entry) in (1..).zip(entries) {
            ring.add(KeyEntry::parse(entry, number)?)
                .map_err(|()| InvalidKeyEntry::Repeated(number))?;
        }
        Ok(ring)
    }

    /// Adds the entries of another ring.
    ///
    /// # Errors
    /// The name that both rings have.
    pub fn join(mut self, other: Self) -> Result<Self, String> {
        for entry in other.0 {
            let name = entry.name.clone();
            self.add(entry).map_err(|()| name)?;
        }
        Ok(self)
    }

    fn add(&mut self, entry: KeyEntry) -> Result<(), ()> {
        if self.0.iter().any(|known| known.name == entry.name) {
            return Err(());
        }
        self.0.push(entry);
        Ok(())
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entry of a key.
    pub fn find(&self, key: &str) -> Option<&KeyEntry> {
        let entries = self.0.iter().map(|entry| (&entry.digest, entry));
        find_by_secret(entries, key.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::new_key;

    #[test]
    fn bad_entries_are_named_by_number() {
        let good = new_key("a", "admin").unwrap().entry;
        let digest = "0".repeat(64);
        for (entries, error) in [
            ("just-a-key".to_owned(), InvalidKeyEntry::Form(1)),
            (format!("{good},b:admin"), InvalidKeyEntry::Form(2)),
            (format!("b b:admin:{digest}"), InvalidKeyEntry::Name(1)),
            (format!("b:root:{digest}"), InvalidKeyEntry::Scope(1)),
            ("b:admin:abc".to_owned(), InvalidKeyEntry::Digest(1)),
            (format!("{good}\n{good}"), InvalidKeyEntry::Repeated(2)),
        ] {
            assert_eq!(KeyRing::parse(&entries).err(), Some(error));
        }
    }
}
