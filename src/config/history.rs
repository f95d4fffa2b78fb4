//! The partitions of history, and for how long it is kept.

use std::ops::RangeInclusive;
use std::time::Duration;

use clap::Args;

use super::{ConfigError, text};
use crate::domain::PartitionPeriod;

const KEEP_HISTORY: RangeInclusive<Duration> =
    Duration::from_hours(24)..=Duration::from_hours(100 * 366 * 24);

/// The settings of history, as given.
#[derive(Args, Debug, Clone, Default)]
pub struct HistoryArgs {
    #[command(flatten)]
    partitions: PartitionArgs,

    /// For how long history is kept, at least 1day, or off to keep all: partitions that are older are dropped; resume needs none of it [default: off]
    #[arg(long, env = "REJOIN_KEEP_HISTORY", value_name = "DURATION")]
    keep_history: Option<String>,
}

/// The setting of history's partitions, as given.
#[derive(Args, Debug, Clone, Default)]
pub struct PartitionArgs {
    /// What time the coming partitions of history are of: day, week or month [default: month]
    #[arg(long, env = "REJOIN_HISTORY_PARTITION", hide_possible_values = true, value_parser = super::one_of(&["day", "week", "month"]), value_name = "PERIOD")]
    history_partition: Option<String>,
}

/// The partitions of history, and for how long it is kept.
#[derive(Debug, Clone, Copy)]
pub struct HistoryConfig {
    /// What time the coming partitions are of.
    pub period: PartitionPeriod,
    /// For how long history is kept; none for ever.
    pub keep: Option<Duration>,
}

impl HistoryArgs {
    /// The settings.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable.
    pub fn history(&self) -> Result<HistoryConfig, ConfigError> {
        Ok(HistoryConfig {
            period: self.partitions.period()?,
            keep: self.keep()?,
        })
    }

    fn keep(&self) -> Result<Option<Duration>, ConfigError> {
        let keep = text(self.keep_history.as_ref()).unwrap_or("off");
        if matches!(keep, "off" | "for ever" | "forever") {
            return Ok(None);
        }
        let keep = humantime::parse_duration(keep).ok();
        let keep = keep.filter(|keep| KEEP_HISTORY.contains(keep));
        keep.map(Some).ok_or_else(|| {
            let what = "off, or a duration from 1day to 100years such as 90days";
            ConfigError::should_be("REJOIN_KEEP_HISTORY", what)
        })
    }
}

impl PartitionArgs {
    /// What time the coming partitions are of.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable.
    pub fn period(&self) -> Result<PartitionPeriod, ConfigError> {
        let period = text(self.history_partition.as_ref()).unwrap_or("month");
        let mut all = PartitionPeriod::ALL.iter().copied();
        all.find(|known| known.as_str() == period)
            .ok_or_else(|| ConfigError::should_be("REJOIN_HISTORY_PARTITION", "day, week or month"))
    }
}
