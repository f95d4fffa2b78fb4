//! What is stored of a peer.

use clap::Args;

use super::{ConfigError, text};
use crate::domain::StoragePolicy;

/// What is stored of a peer, as given.
#[derive(Args, Debug, Clone, Default)]
pub struct StorageArgs {
    /// The largest metadata that is stored, in bytes [default: 262144]
    #[arg(long, env = "REJOIN_MAX_METADATA_BYTES", value_name = "BYTES")]
    max_metadata_bytes: Option<String>,
    /// Whether display names are stored [default: true]
    #[arg(long, env = "REJOIN_STORE_NAMES", hide_possible_values = true, value_parser = super::one_of(&["true", "false"]), value_name = "BOOL")]
    store_names: Option<String>,
}

impl StorageArgs {
    /// Reads the settings.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable.
    pub fn policy(&self) -> Result<StoragePolicy, ConfigError> {
        let max_metadata_bytes = text(self.max_metadata_bytes.as_ref())
            .map_or(Some(262_144), |text| text.parse().ok())
            // What is longer than this is no peer's metadata, whatever 100ms's own limit is.
            .filter(|bytes| (1..=2 << 20).contains(bytes))
            .ok_or_else(|| {
                ConfigError::should_be(
                    "REJOIN_MAX_METADATA_BYTES",
                    "a number of bytes from 1 to 2097152",
                )
            })?;
        let store_names = text(self.store_names.as_ref())
            .map_or(Some(true), |text| text.parse().ok())
            .ok_or_else(|| ConfigError::should_be("REJOIN_STORE_NAMES", "true or false"))?;
        Ok(StoragePolicy {
            max_metadata_bytes,
            store_names,
        })
    }
}
