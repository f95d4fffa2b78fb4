//! Logs, metrics and traces of the process.

#[cfg(feature = "otel")]
mod traces;

use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{ConfigError, variable};
use crate::domain::named;
use crate::metrics::{AnyMetric, Gauge, label, metrics};

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

/// Where spans are sent.
const OTLP_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// The headers that the collector wants. The exporter reads them.
const OTLP_HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";

/// Starts the log, to stderr, filtered by `RUST_LOG` and else by `default`.
///
/// # Errors
/// [`ConfigError`] where `RUST_LOG` cannot be read.
pub fn start_log(format: LogFormat, default: &str) -> Result<(), ConfigError> {
    let filter = log_filter(default)?;
    tracing_subscriber::registry()
        .with(filter)
        .with(log(format))
        .init();
    Ok(())
}

/// As [`start_log`], with traces where `OTEL_EXPORTER_OTLP_ENDPOINT` is set.
///
/// # Errors
/// [`ConfigError`].
pub fn start_log_and_traces(format: LogFormat, default: &str) -> Result<(), ConfigError> {
    let endpoint = variable(OTLP_ENDPOINT)?;
    let headers = variable(OTLP_HEADERS)?;
    if endpoint.is_empty() {
        return start_log(format, default);
    }
    #[cfg(feature = "otel")]
    {
        use tracing_subscriber::filter::Targets;
        let filter = log_filter(default)?;
        let spans = Targets::new().with_target(crate::trace::TARGET, tracing::Level::TRACE);
        tracing_subscriber::registry()
            .with(log(format).with_filter(filter))
            .with(traces::layer(&endpoint, &headers)?.with_filter(spans))
            .init();
    }
    #[cfg(not(feature = "otel"))]
    {
        drop(headers);
        start_log(format, default)?;
        tracing::warn!(
            "{OTLP_ENDPOINT} is set, but this program was built without the feature otel"
        );
    }
    Ok(())
}

/// Sends the last spans, for a few seconds at most.
pub async fn flush_traces() {
    #[cfg(feature = "otel")]
    let _ = tokio::task::spawn_blocking(traces::flush).await;
}

fn log_filter(default: &str) -> Result<EnvFilter, ConfigError> {
    match variable("RUST_LOG")?.as_str() {
        "" => Ok(EnvFilter::new(default)),
        text => EnvFilter::try_new(text).map_err(|_| {
            ConfigError::should_be("RUST_LOG", "a filter such as info or rejoin=debug,info")
        }),
    }
}

fn log<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'span> tracing_subscriber::registry::LookupSpan<'span>,
{
    let log = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE);
    match format {
        LogFormat::Text => {
            // https://no-color.org
            let wants_color = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            let has_color = wants_color && std::io::stderr().is_terminal();
            log.with_ansi(has_color).boxed()
        }
        LogFormat::Json => log.json().flatten_event(true).boxed(),
    }
}

metrics! {
    BUILD_INFO: Gauge<Version> = Gauge::new(
        "rejoin_build_info",
        "1, with the version of this process.",
    ).starting_at(1.0);
}

named! {
    /// The version of this process.
    pub(crate) enum Version {
        /// The version of the package.
        Current = env!("CARGO_PKG_VERSION"),
    }
}
label!("version", Version);

/// The metrics of this process. The first call sets them up: its lists and those of this module.
pub(crate) fn metrics(lists: &[&[&dyn AnyMetric]]) -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| install(lists)).clone()
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

fn install(metrics: &[&[&dyn AnyMetric]]) -> PrometheusHandle {
    let metrics = || metrics.iter().copied().flatten().chain(METRICS);
    builder(metrics())
        .install_recorder()
        .inspect(|_| {
            metrics_process::Collector::default().describe();
            metrics().for_each(|metric| metric.create());
        })
        .expect("no other recorder is installed")
}

fn builder<'a>(metrics: impl Iterator<Item = &'a &'a dyn AnyMetric>) -> PrometheusBuilder {
    metrics.filter(|metric| !metric.buckets().is_empty()).fold(
        PrometheusBuilder::new(),
        |builder, metric| {
            let name = Matcher::Full(metric.name().to_owned());
            builder
                .set_buckets_for_metric(name, metric.buckets())
                .expect("a histogram has buckets")
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{DURATIONS, Histogram};

    const SECONDS: Histogram = Histogram::new("seconds", "A duration.").with_buckets(DURATIONS);

    /// The memory of this process, in MiB.
    fn resident_mib() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
        (pages * 4096) >> 20
    }

    #[tokio::test]
    async fn memory_does_not_grow_while_nobody_scrapes() {
        let recorder = builder([&SECONDS as &dyn AnyMetric].iter()).build_recorder();
        let interval = Duration::from_millis(5);
        let upkeep = run_upkeep_every(interval, recorder.handle(), CancellationToken::new());
        let upkeep = tokio::spawn(upkeep);
        let mut highest = Vec::new();
        for _ in 0..8 {
            ::metrics::with_local_recorder(&recorder, || {
                let histogram = SECONDS.of(&());
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
