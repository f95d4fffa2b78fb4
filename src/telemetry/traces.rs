//! Traces: where `OTEL_EXPORTER_OTLP_ENDPOINT` is set, spans go to that collector by OTLP over HTTP.
//!
//! The exporter has a thread and a bounded queue of its own: a collector that is slow or away delays
//! nothing, and spans that do not fit are dropped.

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracerProvider, Tracer};
use tracing::Subscriber;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;

use crate::config::{ConfigError, variable};

/// How long the last spans may take.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// A layer that exports spans to the collector at `endpoint`, which wants these headers.
///
/// # Errors
/// [`ConfigError`] where one of them cannot be used.
pub(super) fn layer<S>(
    endpoint: &str,
    headers: &str,
) -> Result<OpenTelemetryLayer<S, Tracer>, ConfigError>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let is_url = url::Url::parse(endpoint)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let bad_endpoint = || {
        let what = "an http or https URL such as http://localhost:4318";
        ConfigError::should_be(super::OTLP_ENDPOINT, what)
    };
    if !is_url {
        return Err(bad_endpoint());
    }
    check_headers(headers)?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .build()
        .map_err(|_| bad_endpoint())?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource()?)
        .build();
    let tracer = provider.tracer("rejoin");
    PROVIDER.get_or_init(|| provider);
    crate::trace::turn_on();
    Ok(tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_target(false))
}

/// The exporter itself leaves out what it cannot read.
fn check_headers(headers: &str) -> Result<(), ConfigError> {
    let mut headers = headers.split(',').filter(|header| !header.is_empty());
    if headers.all(|header| header.contains('=')) {
        return Ok(());
    }
    let what = "headers of the form name=value, separated by commas";
    Err(ConfigError::should_be(super::OTLP_HEADERS, what))
}

/// What describes this process: `OTEL_RESOURCE_ATTRIBUTES`, and `OTEL_SERVICE_NAME` or `rejoin`.
fn resource() -> Result<Resource, ConfigError> {
    let resource = Resource::builder()
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    let is_named = !variable("OTEL_SERVICE_NAME")?.is_empty()
        || variable("OTEL_RESOURCE_ATTRIBUTES")?.contains("service.name=");
    Ok(if is_named {
        resource.build()
    } else {
        resource.with_service_name("rejoin").build()
    })
}

/// Sends the last spans, for five seconds at most.
pub(super) fn flush() {
    if let Some(provider) = PROVIDER.get() {
        // What the collector does not take is lost, as while the process runs.
        let _ = provider.shutdown_with_timeout(FLUSH_TIMEOUT);
    }
}
