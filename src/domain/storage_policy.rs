//! What the settings allow to be stored of a peer.

/// What is stored of a peer.
#[derive(Debug, Clone, Copy)]
pub struct StoragePolicy {
    /// The largest metadata that is stored, in bytes.
    pub max_metadata_bytes: usize,
    /// Whether display names are stored.
    pub store_names: bool,
}
