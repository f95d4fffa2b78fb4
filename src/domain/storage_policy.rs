//! The storage policy: what may be stored of a peer, and why a peer may not.

use super::{InvalidId, KeyTooLarge, Label, Metadata, NotRepresentable, ProblemCode};

/// What is stored of a peer.
#[derive(Debug, Clone, Copy)]
pub struct StoragePolicy {
    /// The largest metadata that is stored, in bytes.
    pub max_metadata_bytes: usize,
    /// Whether display names are stored.
    pub store_names: bool,
}

impl StoragePolicy {
    /// The metadata, if it is not too large.
    ///
    /// # Errors
    /// [`Unstorable::MetadataTooLarge`].
    pub fn check_metadata(&self, metadata: Metadata) -> Result<Metadata, Unstorable> {
        let (size, max) = (metadata.len(), self.max_metadata_bytes);
        if size > max {
            Err(Unstorable::MetadataTooLarge { size, max })
        } else {
            Ok(metadata)
        }
    }

    /// The display name, if names are stored.
    pub fn check_name(&self, name: Option<Label>) -> Option<Label> {
        if self.store_names { name } else { None }
    }
}

/// Why a peer that 100ms described cannot be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unstorable {
    /// It has no `user_id` to store it under.
    #[error("the peer has no user_id, so its metadata cannot be stored for a user")]
    NoUserId,
    /// Its `user_id` is no id.
    #[error("the peer's user_id cannot be stored: {0}")]
    BadUserId(#[source] InvalidId),
    /// Its peer id is no id.
    #[error("the peer's id cannot be stored: {0}")]
    BadPeerId(#[source] InvalidId),
    /// Its ids are together too large for an index.
    #[error(transparent)]
    KeyTooLarge(#[from] KeyTooLarge),
    /// Its metadata is larger than the setting allows.
    #[error(
        "the metadata has {size} bytes; at most {max} can be stored (REJOIN_MAX_METADATA_BYTES)"
    )]
    MetadataTooLarge {
        /// The size of the metadata, in bytes.
        size: usize,
        /// The largest size that can be stored.
        max: usize,
    },
    /// Its metadata is not Unicode text.
    #[error(transparent)]
    NotRepresentable(#[from] NotRepresentable),
}

impl Unstorable {
    /// The problem code.
    pub fn code(&self) -> ProblemCode {
        match self {
            Self::NoUserId | Self::BadUserId(_) => ProblemCode::PeerWithoutUserId,
            Self::BadPeerId(_) => ProblemCode::UpstreamBadResponse,
            Self::KeyTooLarge(_) => ProblemCode::InvalidRequest,
            Self::MetadataTooLarge { .. } => ProblemCode::MetadataTooLarge,
            Self::NotRepresentable(_) => ProblemCode::MetadataNotRepresentable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_may_have_just_the_largest_size() {
        let policy = StoragePolicy {
            max_metadata_bytes: 4,
            store_names: true,
        };
        for text in ["", "abc", "abcd", "⚔a"] {
            let metadata = Metadata::from_text(text);
            assert_eq!(policy.check_metadata(metadata.clone()), Ok(metadata));
        }
        let too_large = policy.check_metadata(Metadata::from_text("⚔⚔"));
        assert_eq!(
            too_large,
            Err(Unstorable::MetadataTooLarge { size: 6, max: 4 })
        );
    }

    #[test]
    fn names_are_stored_only_where_they_are_to_be() {
        let name = Some(Label::new("seven"));
        for (store_names, expected) in [(true, name.clone()), (false, None)] {
            let policy = StoragePolicy {
                max_metadata_bytes: 4,
                store_names,
            };
            assert_eq!(policy.check_name(name.clone()), expected);
        }
    }
}
