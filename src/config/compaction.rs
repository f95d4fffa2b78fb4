//! For how long rows are kept that no answer needs any more.

use std::ops::RangeInclusive;
use std::time::Duration;

use clap::Args;

use super::{ConfigError, text};
use crate::domain::MIN_KEEP_PEERS;

/// For how long peers may be kept: at least as long as 100ms replays events.
const KEEP_PEERS: RangeInclusive<Duration> = MIN_KEEP_PEERS..=Duration::from_hours(100 * 366 * 24);

/// The settings of compaction, as given.
#[derive(Args, Debug, Clone, Default)]
pub struct CompactionArgs {
    /// For how long peers are kept that have ended and that no resume needs, at least 30days, or off to keep all; history stays in either case [default: 30days]
    #[arg(long, env = "REJOIN_KEEP_PEERS", value_name = "DURATION")]
    keep_peers: Option<String>,
}

impl CompactionArgs {
    /// For how long peers are kept; none for ever.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable.
    pub fn keep_peers(&self) -> Result<Option<Duration>, ConfigError> {
        let keep_peers = text(self.keep_peers.as_ref()).unwrap_or("30days");
        if matches!(keep_peers, "off" | "for ever" | "forever") {
            return Ok(None);
        }
        let keep_peers = humantime::parse_duration(keep_peers).ok();
        let keep_peers = keep_peers.filter(|keep_peers| KEEP_PEERS.contains(keep_peers));
        keep_peers.map(Some).ok_or_else(|| {
            let what = "off, or a duration from 30days to 100years such as 90days";
            ConfigError::should_be("REJOIN_KEEP_PEERS", what)
        })
    }
}
