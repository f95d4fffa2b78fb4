//! Traces: the spans that OpenTelemetry is sent, and the W3C trace context that goes in and out.
//!
//! Where traces are off, no span exists: [`span`] is disabled by its level, and the rest looks at one
//! flag. No span has a path, a query, an id of 100ms's or of a user, or a parameter of a statement.

use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderMap;
pub(crate) use tracing::Instrument;
use tracing::Span;

/// The target of all spans.
pub(crate) const TARGET: &str = "rejoin::trace";

/// Whether spans are exported.
static IS_ON: AtomicBool = AtomicBool::new(false);

/// A span, of the lowest level, so that the log does not know it.
macro_rules! span {
    (parent: $parent:expr, $name:literal, $($fields:tt)*) => {
        tracing::trace_span!(target: $crate::trace::TARGET, parent: $parent, $name, $($fields)*)
    };
    ($name:literal, $($fields:tt)*) => {
        tracing::trace_span!(target: $crate::trace::TARGET, $name, $($fields)*)
    };
}
pub(crate) use span;

/// Spans are exported from now on.
#[cfg(feature = "otel")]
pub(crate) fn turn_on() {
    IS_ON.store(true, Ordering::Relaxed);
}

/// The span that this task is in, to pass on to another task.
pub(crate) fn current() -> Span {
    if IS_ON.load(Ordering::Relaxed) {
        Span::current()
    } else {
        Span::none()
    }
}

/// Makes the trace context of a request the parent of a span.
pub(crate) fn continue_from(span: &Span, headers: &HeaderMap) {
    if IS_ON.load(Ordering::Relaxed) {
        context::extract(span, headers);
    }
}

/// The headers that pass the context of the current span on.
pub(crate) fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    if IS_ON.load(Ordering::Relaxed) {
        context::inject(&mut headers);
    }
    headers
}

/// The name of a type without its path, for spans of statements.
pub(crate) fn short_name<T>() -> &'static str {
    let name = std::any::type_name::<T>();
    let name = name.split('<').next().unwrap_or(name);
    name.rsplit("::").next().unwrap_or(name)
}

#[cfg(feature = "otel")]
mod context {
    use http::{HeaderMap, HeaderName, HeaderValue};
    use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
    use opentelemetry_sdk::propagation::TraceContextPropagator;
    use tracing::Span;
    use tracing_opentelemetry::OpenTelemetrySpanExt;

    struct Headers<'a>(&'a HeaderMap);

    impl Extractor for Headers<'_> {
        fn get(&self, name: &str) -> Option<&str> {
            self.0.get(name)?.to_str().ok()
        }

        fn keys(&self) -> Vec<&str> {
            self.0.keys().map(HeaderName::as_str).collect()
        }
    }

    struct HeadersMut<'a>(&'a mut HeaderMap);

    impl Injector for HeadersMut<'_> {
        fn set(&mut self, name: &str, value: String) {
            let name = HeaderName::try_from(name);
            let value = HeaderValue::try_from(value);
            if let (Ok(name), Ok(value)) = (name, value) {
                self.0.insert(name, value);
            }
        }
    }

    pub(super) fn extract(span: &Span, headers: &HeaderMap) {
        let context = TraceContextPropagator::new().extract(&Headers(headers));
        // A span that was not sampled has no context to set.
        let _ = span.set_parent(context);
    }

    pub(super) fn inject(headers: &mut HeaderMap) {
        let context = Span::current().context();
        TraceContextPropagator::new().inject_context(&context, &mut HeadersMut(headers));
    }
}

#[cfg(not(feature = "otel"))]
mod context {
    use http::HeaderMap;
    use tracing::Span;

    pub(super) fn extract(_: &Span, _: &HeaderMap) {}

    pub(super) fn inject(_: &mut HeaderMap) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Generic<T>(T);

    #[test]
    fn a_short_name_has_no_path() {
        assert_eq!(short_name::<Span>(), "Span");
        assert_eq!(short_name::<Generic<Span>>(), "Generic");
        assert_eq!(Generic(1).0, 1);
    }

    #[test]
    fn nothing_is_passed_on_while_traces_are_off() {
        assert!(headers().is_empty());
        assert!(current().is_none());
    }
}
