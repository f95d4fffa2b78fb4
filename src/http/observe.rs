//! Around every request: its id, the body of its failure, one log line, and the metrics.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Span;
use tracing::field::Empty;
use uuid::Uuid;

use super::auth::KeyName;
use super::error::ApiError;
use super::metrics::{Answered, Endpoint, REQUEST_SECONDS, REQUESTS};
use crate::trace::{self, Instrument, span};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The outermost layer.
pub(crate) async fn observe(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let request_id = request_id(&request);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();

    let span = request_span(&request, route.as_ref());
    trace::continue_from(&span, request.headers());

    let mut response = next.run(request).instrument(span.clone()).await;

    let extensions = response.extensions_mut();
    let (failure, key) = (
        extensions.remove::<ApiError>(),
        extensions.remove::<KeyName>(),
    );
    if let Some(failure) = &failure {
        let allow = response.headers_mut().remove(header::ALLOW);
        response = failure.render(request_id.to_str().unwrap_or_default());
        response
            .headers_mut()
            .extend(allow.map(|allow| (header::ALLOW, allow)));
    }
    record(&span, response.status(), failure.as_ref());
    Line {
        method: &method,
        route: route.as_ref().map_or("unmatched", MatchedPath::as_str),
        status: response.status(),
        failure: failure.as_ref(),
        key: key.as_ref().map_or("", |key| &key.0),
        request_id: request_id.to_str().unwrap_or_default(),
        seconds: started.elapsed().as_secs_f64(),
    }
    .write();
    response.headers_mut().insert(REQUEST_ID, request_id);
    response
}

/// The span of a request, by OpenTelemetry's conventions for HTTP.
fn request_span(request: &Request, route: Option<&MatchedPath>) -> Span {
    let method = known_method(request.method());
    let route = route.map_or("unmatched", MatchedPath::as_str);
    span!(
        "request",
        otel.name = format_args!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        error.type = Empty,
    )
}

fn record(span: &Span, status: StatusCode, failure: Option<&ApiError>) {
    span.record("http.response.status_code", status.as_u16());
    if let Some(failure) = failure {
        span.record("error.type", failure.code().as_str());
    }
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}

/// The client's own id where it sent a plausible one, else a new one.
fn request_id(request: &Request) -> HeaderValue {
    let sent = request.headers().get(&REQUEST_ID);
    let plausible = |id: &&HeaderValue| {
        (1..=128).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    sent.filter(plausible).cloned().unwrap_or_else(|| {
        let mut text = Uuid::encode_buffer();
        HeaderValue::from_str(Uuid::now_v7().simple().encode_lower(&mut text))
            .expect("hex digits are a header value")
    })
}

/// What is said of a request: never its path, query or body, which hold ids and could hold more.
struct Line<'a> {
    method: &'a Method,
    route: &'a str,
    status: StatusCode,
    failure: Option<&'a ApiError>,
    key: &'a str,
    request_id: &'a str,
    seconds: f64,
}

impl Line<'_> {
    fn write(&self) {
        let code = self.failure.map_or("", |failure| failure.code().as_str());
        // What is wrong with a request can quote its query string; what is wrong with us or 100ms does not.
        let detail = self
            .failure
            .filter(|_| self.status.is_server_error())
            .map_or("", ApiError::detail);
        tracing::info!(
            target: "rejoin::request",
            method = %self.method,
            route = self.route,
            status = self.status.as_u16(),
            code,
            detail,
            ms = (self.seconds * 1e6).round() / 1e3,
            key = self.key,
            request_id = self.request_id,
            "request"
        );
        let endpoint = Endpoint {
            method: known_method(self.method).to_owned(),
            route: self.route.to_owned(),
        };
        REQUEST_SECONDS.of(&endpoint).record(self.seconds);
        REQUESTS.count(&Answered {
            endpoint,
            status: self.status,
            code,
        });
    }
}

/// The method as a label: a client can make up any number of methods, but not of time series.
fn known_method(method: &Method) -> &str {
    match *method {
        Method::GET
        | Method::POST
        | Method::HEAD
        | Method::PUT
        | Method::DELETE
        | Method::PATCH
        | Method::OPTIONS => method.as_str(),
        _ => "other",
    }
}
