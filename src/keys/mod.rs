//! API keys: who may do what. Only their SHA-256 is known to the service; a key itself is shown once, when it is made.

use std::collections::BTreeSet;
use std::fmt;

use rand::TryRng;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What a key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Fetch peers from 100ms and keep them.
    Snapshot,
    /// Read a user's saved state.
    Resume,
    /// Read a user's history.
    History,
    /// Everything.
    Admin,
}

impl Scope {
    const ALL: [Self; 4] = [Self::Snapshot, Self::Resume, Self::History, Self::Admin];

    /// The name in settings and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Resume => "resume",
            Self::History => "history",
            Self::Admin => "admin",
        }
    }
}

/// Why a key entry cannot be used. Says nothing of the entry itself, which may be a key put in the wrong place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeyEntry {
    /// Not three parts.
    #[error("entry {0} is not of the form name:scope+scope:sha256-hex-of-key")]
    Form(usize),
    /// A name that cannot stand in logs and metrics.
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
    /// One name twice.
    #[error("the name of entry {0} is taken by an entry before it")]
    Repeated(usize),
}

/// A key that may be used: `name:scope+scope:sha256-hex-of-key`.
#[derive(Clone)]
pub struct KeyEntry {
    name: String,
    scopes: BTreeSet<Scope>,
    digest: [u8; 32],
}

impl KeyEntry {
    fn parse(text: &str, place: usize) -> Result<Self, InvalidKeyEntry> {
        let mut parts = text.split(':');
        let (Some(name), Some(scopes), Some(digest), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidKeyEntry::Form(place));
        };
        let mut bytes = [0; 32];
        hex::decode_to_slice(digest, &mut bytes).map_err(|_| InvalidKeyEntry::Digest(place))?;
        if !is_name(name) {
            return Err(InvalidKeyEntry::Name(place));
        }
        let scopes = parse_scopes(scopes).ok_or(InvalidKeyEntry::Scope(place))?;
        Ok(Self {
            name: name.to_owned(),
            scopes,
            digest: bytes,
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

impl fmt::Debug for KeyEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyEntry")
            .field("name", &self.name)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Reads `snapshot+resume`.
fn parse_scopes(text: &str) -> Option<BTreeSet<Scope>> {
    text.split('+')
        .map(|name| {
            Scope::ALL
                .into_iter()
                .find(|scope| scope.as_str() == name.trim())
        })
        .collect()
}

/// The keys that are known.
#[derive(Debug, Clone, Default)]
pub struct KeyRing(Vec<KeyEntry>);

impl KeyRing {
    /// Reads entries separated by commas or line ends; a line that begins with `#` is a comment.
    ///
    /// # Errors
    /// [`InvalidKeyEntry`] names the first bad entry by its place, from 1.
    pub fn parse(text: &str) -> Result<Self, InvalidKeyEntry> {
        let mut ring = Self::default();
        let entries = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .flat_map(|line| line.split(','))
            .map(str::trim)
            .filter(|entry| !entry.is_empty());
        for (place, entry) in (1..).zip(entries) {
            ring.add(KeyEntry::parse(entry, place)?)
                .map_err(|()| InvalidKeyEntry::Repeated(place))?;
        }
        Ok(ring)
    }

    /// Adds the entries of another ring; fails with the name that both have.
    ///
    /// # Errors
    /// The repeated name.
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

    /// The entry of a key. Compares digests, each in constant time, and always all of them.
    pub fn find(&self, key: &str) -> Option<&KeyEntry> {
        let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        self.0.iter().fold(None, |found, entry| {
            if bool::from(entry.digest.ct_eq(&digest)) {
                Some(entry)
            } else {
                found
            }
        })
    }
}

/// A key that was just made.
pub struct NewKey {
    /// The key, to be shown once.
    pub key: String,
    /// Its line for `REJOIN_API_KEYS`.
    pub entry: String,
}

/// Makes a key of 256 random bits.
///
/// # Errors
/// Which of the arguments cannot be used, as a sentence.
pub fn new_key(name: &str, scopes: &str) -> Result<NewKey, &'static str> {
    if !is_name(name) {
        return Err("--name should be 1 to 64 letters, digits, '-', '_' or '.'");
    }
    let scopes = parse_scopes(&scopes.replace(',', "+")).ok_or(
        "--scopes should be one or more of snapshot, resume, history and admin, joined by '+'",
    )?;
    let mut random = [0; 32];
    rand::rngs::SysRng
        .try_fill_bytes(&mut random)
        .map_err(|_| "the system gave no random bytes")?;
    let key = format!("rejoin_{}", hex::encode(random));
    let scopes: Vec<&str> = scopes.into_iter().map(Scope::as_str).collect();
    let entry = format!(
        "{name}:{}:{}",
        scopes.join("+"),
        hex::encode(Sha256::digest(key.as_bytes()))
    );
    Ok(NewKey { key, entry })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_opens_what_its_scopes_say() {
        let new = new_key("game", "resume+snapshot").unwrap();
        let ring = KeyRing::parse(&format!("# ours\n{},\n", new.entry)).unwrap();
        let entry = ring.find(&new.key).unwrap();
        assert_eq!(entry.name(), "game");
        assert!(
            entry.allows(Scope::Resume)
                && entry.allows(Scope::Snapshot)
                && !entry.allows(Scope::History)
        );
        assert!(ring.find("rejoin_other").is_none());
        assert!(!format!("{ring:?}").contains(&hex::encode(Sha256::digest(new.key.as_bytes()))));
    }

    #[test]
    fn admin_is_everything() {
        let new = new_key("ops", "admin").unwrap();
        let ring = KeyRing::parse(&new.entry).unwrap();
        assert!(
            Scope::ALL
                .into_iter()
                .all(|scope| ring.find(&new.key).unwrap().allows(scope))
        );
    }

    #[test]
    fn bad_entries_are_named_by_place() {
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
