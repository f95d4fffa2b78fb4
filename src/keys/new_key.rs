//! Makes API keys.

use rand::TryRng;

use super::Scope;
use super::api_key::is_name;
use super::digest::SecretDigest;
use super::scope::parse_scopes;

/// A key that was just made.
pub struct NewKey {
    /// The key, to be shown once.
    pub key: String,
    /// Its entry for `REJOIN_API_KEYS`.
    pub entry: String,
}

/// Makes a key of 256 random bits.
///
/// # Errors
/// Which of the arguments cannot be used, as a sentence without its full stop.
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
    let digest = SecretDigest::of(key.as_bytes()).to_hex();
    let entry = format!("{name}:{}:{digest}", scopes.join("+"));
    Ok(NewKey { key, entry })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeyRing;

    #[test]
    fn a_new_key_allows_its_scopes_and_no_others() {
        let new = new_key("game", "resume+snapshot").unwrap();
        let ring = KeyRing::parse(&format!("# ours\n{},\n", new.entry)).unwrap();
        let entry = ring.find(&new.key).unwrap();
        assert_eq!(entry.name(), "game");
        assert!(entry.allows(Scope::Resume));
        assert!(entry.allows(Scope::Snapshot));
        assert!(!entry.allows(Scope::History));
        assert!(ring.find("rejoin_other").is_none());
        let digest = SecretDigest::of(new.key.as_bytes()).to_hex();
        assert!(!format!("{ring:?}").contains(&digest));
    }

    #[test]
    fn an_admin_key_allows_everything() {
        let new = new_key("ops", "admin").unwrap();
        let ring = KeyRing::parse(&new.entry).unwrap();
        let entry = ring.find(&new.key).unwrap();
        assert!(Scope::ALL.into_iter().all(|scope| entry.allows(scope)));
    }
}
