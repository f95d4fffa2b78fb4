//! The digest of a secret, and the one comparison of secrets.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The SHA-256 of a secret. Never printed, except by [`SecretDigest::to_hex`].
#[derive(Clone, Copy)]
pub(super) struct SecretDigest([u8; 32]);

impl SecretDigest {
    /// The digest of a secret.
    pub(super) fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// Reads 64 hex digits.
    pub(super) fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// 64 hex digits.
    pub(super) fn to_hex(self) -> String {
        hex::encode(self.0)
    }
}

/// The item whose digest is that of `secret`.
///
/// Each comparison takes constant time, and all items are compared: how long this takes says
/// nothing about the secrets.
pub(super) fn find_by_secret<'a, T>(
    items: impl IntoIterator<Item = (&'a SecretDigest, T)>,
    secret: &[u8],
) -> Option<T> {
    let wanted = SecretDigest::of(secret);
    items.into_iter().fold(None, |found, (digest, item)| {
        if bool::from(digest.0.ct_eq(&wanted.0)) {
            Some(item)
        } else {
            found
        }
    })
}
