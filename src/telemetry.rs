//! Logs and metrics of the process.

use std::io::IsTerminal;
use std::time::Duration;

use ::metrics::{describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::{ConfigError, variable};
use crate::metrics::{self, Kind, Metric};

/// How often recorded samples are added to their histograms.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

impl LogFormat {
    /// Reads `REJOIN_LOG`.
    ///
    /// # Errors
    /// [`ConfigError`] where it is neither `text` nor `json`.
    pub fn from_env() -> Result<Self, ConfigError> {
        match variable("REJOIN_LOG")?.as_str() {
            "" | "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(ConfigError::should_be("REJOIN_LOG", "text or json")),
        }
    }
}

/// Starts the log, to stderr, filtered by `RUST_LOG` and else by `default`.
///
/// # Errors
/// [`ConfigError`] where `RUST_LOG` cannot be read.
pub fn start_log(format: LogFormat, default: &str) -> Result<(), ConfigError> {
    let filter = match variable("RUST_LOG")?.as_str() {
        "" => EnvFilter::new(default),
        text => EnvFilter::try_new(text).map_err(|_| {
            ConfigError::should_be("RUST_LOG", "a filter such as info or rejoin=debug,info")
        })?,
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE);
    match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}

/// The metrics of this process; the first call sets them up.
pub fn metrics() -> PrometheusHandle {
    static HANDLE: std::sync::OnceLock<PrometheusHandle> = std::sync::OnceLock::new();
    HANDLE.get_or_init(install).clone()
}

/// Adds the samples that were recorded to their histograms, again and again until `shutdown`. Only
/// this and a scrape do so: without either, every sample would stay in memory.
pub async fn keep_metrics_small(metrics: PrometheusHandle, shutdown: CancellationToken) {
    run_upkeep_every(UPKEEP_INTERVAL, metrics, shutdown).await;
}

async fn run_upkeep_every(
    interval: Duration,
    metrics: PrometheusHandle,
    shutdown: CancellationToken,
) {
    let mut upkeep = tokio::time::interval(interval);
    while shutdown.run_until_cancelled(upkeep.tick()).await.is_some() {
        metrics.run_upkeep();
    }
}

fn install() -> PrometheusHandle {
    builder()
        .install_recorder()
        .inspect(|_| metrics::ALL.iter().for_each(describe))
        .expect("no other recorder is installed")
}

fn builder() -> PrometheusBuilder {
    metrics::ALL
        .iter()
        .fold(PrometheusBuilder::new(), |builder, metric| {
            match metric.kind {
                Kind::Histogram(buckets) => builder
                    .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)
                    .expect("a histogram has buckets"),
                Kind::Counter | Kind::Gauge => builder,
            }
        })
}

fn describe(metric: &Metric) {
    match metric.kind {
        Kind::Counter => describe_counter!(metric.name, metric.description),
        Kind::Gauge => describe_gauge!(metric.name, metric.description),
        Kind::Histogram(_) => describe_histogram!(metric.name, metric.description),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The memory of this process, in MiB.
    fn resident_mib() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
        (pages * 4096) >> 20
    }

    #[tokio::test]
    async fn memory_does_not_grow_while_nobody_scrapes() {
        let recorder = builder().build_recorder();
        let interval = Duration::from_millis(5);
        let upkeep = run_upkeep_every(interval, recorder.handle(), CancellationToken::new());
        let upkeep = tokio::spawn(upkeep);
        let mut highest = Vec::new();
        for _ in 0..8 {
            ::metrics::with_local_recorder(&recorder, || {
                let histogram =
                    ::metrics::histogram!(metrics::HTTP_REQUEST_SECONDS, "route" => "/");
                for _ in 0..1_000_000 {
                    histogram.record(0.001);
                }
            });
            highest.push(resident_mib());
            tokio::time::sleep(4 * interval).await;
        }
        upkeep.abort();
        // Without upkeep, each round adds 8 MiB at least.
        let growth = highest[7].saturating_sub(highest[2]);
        assert!(growth < 20, "{highest:?}");
    }
}
