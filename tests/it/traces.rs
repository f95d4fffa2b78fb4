//! Traces: what a collector really receives, and that a collector that hangs delays nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use reqwest::Method;
use tokio::net::TcpListener;

use crate::support::command::settings;
use crate::support::postgres;
use crate::support::program::{Program, Upstream};
use crate::support::world::{Answer, ROOM, SECRET};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A collector: the bodies that it received.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Bytes>>>);

impl Collector {
    /// Starts it, and returns its address.
    async fn start(&self) -> String {
        let receive = async |State(collector): State<Self>, body: Bytes| {
            collector.0.lock().unwrap().push(body);
        };
        let router = Router::new()
            .route("/v1/traces", post(receive))
            .with_state(self.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn bodies(&self) -> Vec<Bytes> {
        self.0.lock().unwrap().clone()
    }

    /// All spans, and the attributes of the resource.
    fn spans(&self) -> (Vec<Span>, BTreeMap<String, String>) {
        let (mut spans, mut resource) = (Vec::new(), BTreeMap::new());
        for body in self.bodies() {
            let request = ExportTraceServiceRequest::decode(body).unwrap();
            for of_resource in request.resource_spans {
                for attribute in of_resource.resource.unwrap_or_default().attributes {
                    resource.insert(attribute.key, text(attribute.value.as_ref()));
                }
                let scopes = of_resource.scope_spans.into_iter();
                spans.extend(scopes.flat_map(|scope| scope.spans));
            }
        }
        (spans, resource)
    }
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn attribute(span: &Span, name: &str) -> String {
    let attribute = span
        .attributes
        .iter()
        .find(|attribute| attribute.key == name);
    text(attribute.and_then(|attribute| attribute.value.as_ref()))
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    let found = spans.iter().find(|span| span.name == name);
    found.unwrap_or_else(|| panic!("no {name} in {names:?}"))
}

async fn start(database: &str, upstream: &Upstream, more: &[(&str, &str)]) -> Program {
    let mut variables = settings(database, upstream);
    variables.extend(more);
    Program::start(&[], &variables).await
}

async fn snapshot_and_resume(program: &Program) {
    let app = program.app();
    let path = format!("/v1/rooms/{ROOM}/peers/secret-peer/snapshots");
    let request = app
        .request(Method::POST, &path)
        .header("traceparent", PARENT);
    Answer::to(request).await.expect(201);
    let path = "/v1/users/secret-user/resume?max_age=4242";
    Answer::to(app.request(Method::GET, path)).await.expect(200);
}

#[tokio::test]
async fn a_request_is_traced_down_to_its_statement_and_its_call_of_100ms() {
    let (upstream, database) = (Upstream::start().await, postgres::database().await);
    upstream.join("secret-user", "secret-peer", "secret-metadata");
    let collector = Collector::default();
    let url = collector.start().await;
    let otel = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=secret-header"),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=test",
        ),
    ];
    let program = start(database.url(), &upstream, &otel).await;
    snapshot_and_resume(&program).await;
    let (_, log) = program.stop().await;
    assert!(!log.contains("secret-header"), "{log}");

    let (spans, resource) = collector.spans();
    assert_eq!(resource["service.name"], "rejoin");
    assert_eq!(resource["deployment.environment.name"], "test");
    let request = named(&spans, "POST /v1/rooms/{room_id}/peers/{peer_id}/snapshots");
    assert_eq!(hex::encode(&request.trace_id), TRACE);
    assert_eq!(hex::encode(&request.parent_span_id), "00f067aa0ba902b7");
    assert_eq!(attribute(request, "http.response.status_code"), "201");
    let call = named(&spans, "100ms peer");
    assert_eq!(
        (&call.trace_id, &call.parent_span_id),
        (&request.trace_id, &request.span_id)
    );
    let attempt = spans
        .iter()
        .find(|span| span.parent_span_id == call.span_id);
    let attempt = attempt.expect("an attempt");
    assert_eq!(attribute(attempt, "http.response.status_code"), "200");
    let passed_on = format!("00-{TRACE}-{}-01", hex::encode(&attempt.span_id));
    let sent = upstream.sim.requests().pop().unwrap();
    assert_eq!(sent.traceparent, Some(passed_on));

    let batch = spans.iter().find(|span| {
        let mut links = span.links.iter();
        span.name == "save batch" && links.any(|link| link.span_id == request.span_id)
    });
    let batch = batch.expect("a batch with a link to the request");
    let statement = spans
        .iter()
        .find(|span| span.parent_span_id == batch.span_id);
    assert_eq!(
        attribute(statement.expect("a statement"), "db.operation.name"),
        "SaveRound"
    );
    named(&spans, "GET /v1/users/{user_id}/resume");

    for body in collector.bodies() {
        let body = String::from_utf8_lossy(&body);
        for secret in ["secret", "4242", ROOM, SECRET, "127.0.0.1"] {
            assert!(!body.contains(secret), "{secret}");
        }
    }
}

#[tokio::test]
async fn without_a_collector_nothing_is_sent_and_100ms_gets_no_context() {
    let (upstream, database) = (Upstream::start().await, postgres::database().await);
    upstream.join("secret-user", "secret-peer", "hp 71");
    let program = start(database.url(), &upstream, &[]).await;
    snapshot_and_resume(&program).await;
    program.stop().await;
    assert_eq!(upstream.sim.requests().pop().unwrap().traceparent, None);
}

#[tokio::test]
async fn a_collector_that_hangs_delays_no_request_and_the_stop_by_five_seconds_at_most() {
    let (upstream, database) = (Upstream::start().await, postgres::database().await);
    upstream.join("secret-user", "secret-peer", "hp 71");
    // It accepts connections, and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let otel = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "10"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "16"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "16"),
    ];
    let program = start(database.url(), &upstream, &otel).await;
    let app = program.app();
    for _ in 0..200 {
        app.snapshot("secret-peer").await;
        app.resume("secret-user").await.expect(200);
    }
    let stopped_at = Instant::now();
    let (status, _) = program.stop().await;
    assert!(status.success());
    assert!(
        stopped_at.elapsed() < Duration::from_secs(9),
        "{:?}",
        stopped_at.elapsed()
    );
}

#[tokio::test]
async fn a_collector_that_is_no_url_is_refused_at_the_start() {
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")];
    let ended = crate::support::command::rejoin(&["serve"], &variables)
        .await
        .expect(2);
    assert_eq!(
        ended.err,
        "error: OTEL_EXPORTER_OTLP_ENDPOINT should be an http or https URL such as http://localhost:4318.\n"
    );
}
