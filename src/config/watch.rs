//! Watches, and what the background may ask of 100ms.

use std::ops::RangeInclusive;
use std::time::Duration;

use clap::Args;

use super::{ConfigError, text};
use crate::domain::WatchInterval;
use crate::hms::UpstreamRate;

/// After how long a peer that is not seen may be looked for.
const PRESENCE_TIMEOUTS: RangeInclusive<Duration> =
    Duration::from_secs(10)..=Duration::from_hours(24);

/// The settings of watches, as given.
#[derive(Args, Debug, Clone, Default)]
pub struct WatchArgs {
    /// Which rooms are watched by themselves: off or active [default: off]
    #[arg(long, env = "REJOIN_WATCH", hide_possible_values = true, value_parser = super::one_of(&["off", "active"]), value_name = "WHICH")]
    watch: Option<String>,
    /// How often active rooms are looked at, from 5s to 1h [default: 30s]
    #[arg(long, env = "REJOIN_WATCH_EVERY", value_name = "DURATION")]
    watch_every: Option<String>,
    /// How many requests to 100ms the background of a replica may send, such as 10/s or 30/m [default: 10/s]
    #[arg(long, env = "REJOIN_UPSTREAM_RATE", value_name = "RATE")]
    upstream_rate: Option<String>,
    /// After how long without an observation a connected peer is looked for in its session, from 10s to 24h [default: 10m]
    #[arg(long, env = "REJOIN_PRESENCE_TIMEOUT", value_name = "DURATION")]
    presence_timeout: Option<String>,
}

/// Which rooms are watched, and at what pace.
#[derive(Debug, Clone, Copy)]
pub struct WatchConfig {
    /// How often active rooms are looked at; none where they are not watched by themselves.
    pub every: Option<WatchInterval>,
    /// The pace of requests that nobody waits for.
    pub rate: UpstreamRate,
    /// After how long without an observation a peer that counts as connected is looked for in its
    /// session.
    pub presence_timeout: Duration,
}

impl WatchArgs {
    /// The arguments that watch active rooms, at this interval and pace.
    pub fn active(every: &str, rate: &str) -> Self {
        Self {
            watch: Some("active".to_owned()),
            watch_every: Some(every.to_owned()),
            upstream_rate: Some(rate.to_owned()),
            presence_timeout: None,
        }
    }

    /// Reads the settings.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable.
    pub fn watches(&self) -> Result<WatchConfig, ConfigError> {
        let every = text(self.watch_every.as_ref())
            .map_or(Ok(WatchInterval::DEFAULT), str::parse)
            .map_err(|_| {
                let what = "a duration from 5s to 1h such as 30s";
                ConfigError::should_be("REJOIN_WATCH_EVERY", what)
            })?;
        let every = match text(self.watch.as_ref()).unwrap_or("off") {
            "off" => None,
            "active" => Some(every),
            _ => return Err(ConfigError::should_be("REJOIN_WATCH", "off or active")),
        };
        let rate = text(self.upstream_rate.as_ref())
            .map_or(Some(UpstreamRate::DEFAULT), UpstreamRate::parse)
            .ok_or_else(|| {
                let what = "from 1/m to 1000/s, such as 10/s";
                ConfigError::should_be("REJOIN_UPSTREAM_RATE", what)
            })?;
        let timeout = text(self.presence_timeout.as_ref()).unwrap_or("10m");
        let presence_timeout = humantime::parse_duration(timeout)
            .ok()
            .filter(|timeout| PRESENCE_TIMEOUTS.contains(timeout))
            .ok_or_else(|| {
                let what = "a duration from 10s to 24h such as 10m";
                ConfigError::should_be("REJOIN_PRESENCE_TIMEOUT", what)
            })?;
        Ok(WatchConfig {
            every,
            rate,
            presence_timeout,
        })
    }
}
