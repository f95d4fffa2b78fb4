//! Logs and metrics of the process.

use std::io::IsTerminal;

use ::metrics::{describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::{ConfigError, variable};
use crate::metrics::{self, Kind, Metric};

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

fn install() -> PrometheusHandle {
    let builder =
        metrics::ALL
            .iter()
            .fold(PrometheusBuilder::new(), |builder, metric| {
                match metric.kind {
                    Kind::Histogram(buckets) => builder
                        .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)
                        .expect("a histogram has buckets"),
                    Kind::Counter | Kind::Gauge => builder,
                }
            });
    let handle = builder
        .install_recorder()
        .expect("no other recorder is installed");
    metrics::ALL.iter().for_each(describe);
    handle
}

fn describe(metric: &Metric) {
    match metric.kind {
        Kind::Counter => describe_counter!(metric.name, metric.description),
        Kind::Gauge => describe_gauge!(metric.name, metric.description),
        Kind::Histogram(_) => describe_histogram!(metric.name, metric.description),
    }
}
