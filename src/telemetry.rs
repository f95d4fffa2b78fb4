//! Logs and metrics of the process.

use std::io::IsTerminal;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::{ConfigError, variable};

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

/// Seconds, from a resume out of memory to an upstream budget used up.
const SECONDS: &[f64] = &[
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0,
];
/// Items in one statement.
const BATCH: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];
/// Ages in seconds, from a reconnect to a month.
const AGES: &[f64] = &[
    1.0,
    2.0,
    5.0,
    15.0,
    60.0,
    300.0,
    900.0,
    3_600.0,
    21_600.0,
    86_400.0,
    604_800.0,
    2_592_000.0,
];

/// The metrics of this process; the first call sets them up.
pub fn metrics() -> PrometheusHandle {
    static HANDLE: std::sync::OnceLock<PrometheusHandle> = std::sync::OnceLock::new();
    HANDLE.get_or_init(install).clone()
}

fn install() -> PrometheusHandle {
    let handle = PrometheusBuilder::new()
        .set_buckets(SECONDS)
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Full("rejoin_batch_size".to_owned()), BATCH)
        })
        .and_then(|builder| {
            builder
                .set_buckets_for_metric(Matcher::Full("rejoin_resume_age_seconds".to_owned()), AGES)
        })
        .and_then(|builder| {
            builder.set_buckets_for_metric(
                Matcher::Full("rejoin_drop_to_resume_seconds".to_owned()),
                AGES,
            )
        })
        .expect("the buckets are not empty")
        .install_recorder()
        .expect("no other recorder is installed");
    describe();
    handle
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!(
        "rejoin_http_requests_total",
        "Requests, by method, route template, status and problem code."
    );
    describe_histogram!(
        "rejoin_http_request_seconds",
        "Time to answer a request, by route template."
    );
    describe_counter!(
        "rejoin_upstream_requests_total",
        "Operations on 100ms, by operation and outcome."
    );
    describe_histogram!(
        "rejoin_upstream_request_seconds",
        "Time of an operation on 100ms, retries included."
    );
    describe_histogram!("rejoin_batch_size", "Items in one statement, by queue.");
    describe_gauge!(
        "rejoin_queue_depth",
        "Items that wait for a statement, by queue."
    );
    describe_gauge!(
        "rejoin_database_connections",
        "Connections to the database: open, and of them busy."
    );
    describe_counter!(
        "rejoin_resumes_total",
        "Resumes by outcome: hit, miss, too-old or not-dropped."
    );
    describe_counter!(
        "rejoin_restores_total",
        "Restores of saved states to peers, by outcome, and whether a join caused them."
    );
    describe_counter!(
        "rejoin_claims_total",
        "Claims of saved states by outcome: claimed, again or already-claimed."
    );
    describe_histogram!(
        "rejoin_drop_to_resume_seconds",
        "From a drop to the restore or the claim of the state."
    );
    describe_counter!(
        "rejoin_webhooks_total",
        "Events of 100ms, by type and outcome."
    );
    describe_histogram!(
        "rejoin_resume_age_seconds",
        "How long ago the state that a resume returned was last seen."
    );
}
