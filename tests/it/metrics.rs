//! Every metric exists from the start, with each of the values of its labels that can be known.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use rejoin::domain::{ForwardOutcome, ProblemCode, SkipReason};
use rejoin::hms::webhook::EventType;
use rejoin::service::WebhookOutcome;

use crate::support::command::settings;
use crate::support::postgres;
use crate::support::program::{Program, Upstream};
use crate::support::scrape::Scrape;
use crate::support::webhooks::{WEBHOOK_SECRET, leave_event, send_event};

/// The page of metrics.
const PAGE: &str = include_str!("../../docs/metrics.md");

/// The metrics of a program that nobody has called yet.
async fn fresh() -> Scrape {
    let (upstream, database) = (Upstream::start().await, postgres::database().await);
    let program = Program::serve(database.url(), &upstream).await;
    let scrape = Scrape::of(&program.app()).await;
    program.stop().await;
    scrape
}

/// The names that the code declares, wherever it does.
fn declared(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            declared(&path, names);
            continue;
        }
        let code = fs::read_to_string(&path).unwrap();
        for declarations in code.split("\nmetrics! {").skip(1) {
            let declarations = declarations.split("\n}").next().unwrap();
            let literals = declarations.split('"').skip(1).step_by(2);
            let ours = literals.filter(|literal| literal.starts_with("rejoin_"));
            names.extend(ours.map(ToOwned::to_owned));
        }
    }
}

/// The table of metrics in the documentation: each metric with the names of its labels.
fn documented() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let rows = PAGE
        .lines()
        .skip_while(|line| *line != "| metric | labels | meaning |")
        .skip(2)
        .map_while(|line| line.strip_prefix("| "));
    let metrics = rows.flat_map(|row| {
        let cells: Vec<&str> = row.split('|').collect();
        // What stands in parentheses are values.
        let labels = cells[1].split(['(', ')']).step_by(2);
        let labels = labels.flat_map(|part| part.split(',')).map(str::trim);
        let labels: BTreeSet<_> = labels.filter(|label| !label.is_empty()).collect();
        let names = cells[0].split('`').skip(1).step_by(2);
        names.map(move |name| (name, labels.clone()))
    });
    metrics.collect()
}

#[tokio::test]
async fn a_fresh_service_shows_every_metric_that_is_declared_or_documented() {
    let scrape = fresh().await;
    let mut expected = BTreeSet::new();
    declared(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut expected,
    );
    assert!(expected.len() > 15, "{expected:?}");
    let shown = scrape.kinds.keys().cloned().collect::<BTreeSet<_>>();
    let ours: BTreeSet<_> = shown
        .iter()
        .filter(|name| name.starts_with("rejoin_"))
        .cloned()
        .collect();
    assert_eq!(ours, expected);

    let documented = documented();
    for (name, labels) in &documented {
        assert_eq!(scrape.labels(name), *labels, "{name}");
    }
    let documented: BTreeSet<_> = documented.keys().map(|name| (*name).to_owned()).collect();
    assert_eq!(shown, documented);
}

#[tokio::test]
async fn counters_start_at_0_with_every_value_of_their_labels() {
    let scrape = fresh().await;
    let mut expected = BTreeSet::from(["rejoin_connections_refused_total".to_owned()]);
    for outcome in ["hit", "miss", "too-old", "not-dropped"] {
        expected.insert(format!(r#"rejoin_resumes_total{{outcome="{outcome}"}}"#));
    }
    for kind in ["dropped", "left", "kicked"] {
        expected.insert(format!(r#"rejoin_leaves_total{{kind="{kind}"}}"#));
    }
    for outcome in ["claimed", "again", "already-claimed"] {
        expected.insert(format!(r#"rejoin_claims_total{{outcome="{outcome}"}}"#));
    }
    let skipped = SkipReason::ALL.iter().map(|reason| reason.as_str());
    for outcome in skipped.chain(["restored", "failed", "gave-up"]) {
        for automatic in ["true", "false"] {
            let labels = format!(r#"automatic="{automatic}",outcome="{outcome}""#);
            expected.insert(format!("rejoin_restores_total{{{labels}}}"));
        }
    }
    for event_type in EventType::ALL {
        for outcome in WebhookOutcome::ALL {
            let labels = format!(
                r#"outcome="{}",type="{}""#,
                outcome.as_str(),
                event_type.as_str()
            );
            expected.insert(format!("rejoin_webhooks_total{{{labels}}}"));
        }
    }
    let codes = ProblemCode::ALL.iter().map(|code| code.as_str());
    let failures = codes.filter(|code| code.starts_with("upstream-"));
    for outcome in failures.chain(["ok", "room-not-active", "peer-not-found", "overloaded"]) {
        for operation in [
            "peer",
            "peers",
            "session",
            "sessions",
            "replay",
            "replay-state",
            "update-peer",
        ] {
            let labels = format!(r#"operation="{operation}",outcome="{outcome}""#);
            expected.insert(format!("rejoin_upstream_requests_total{{{labels}}}"));
        }
    }
    for outcome in ["corrected", "connected", "unknown"] {
        let labels = format!(r#"outcome="{outcome}""#);
        expected.insert(format!("rejoin_presence_checks_total{{{labels}}}"));
    }
    for table in [
        "peers",
        "session_ends",
        "resumes",
        "reconciliations",
        "snapshots",
    ] {
        expected.insert(format!(r#"rejoin_compacted_rows_total{{table="{table}"}}"#));
    }
    expected.insert("rejoin_settled_reports_total".to_owned());
    expected.insert("rejoin_dropped_partitions_total".to_owned());
    for outcome in ["done", "incomplete"] {
        let labels = format!(r#"outcome="{outcome}""#);
        expected.insert(format!("rejoin_reconciliations_total{{{labels}}}"));
    }
    let codes = ProblemCode::ALL.iter().map(|code| code.as_str());
    let failures = codes.filter(|code| code.starts_with("upstream-"));
    let others = [
        "ok",
        "room-not-active",
        "peer-not-found",
        "overloaded",
        "database-unavailable",
        "internal",
    ];
    for outcome in failures.chain(others) {
        for kind in ["room", "user", "peer"] {
            let labels = format!(r#"kind="{kind}",outcome="{outcome}""#);
            expected.insert(format!("rejoin_looks_total{{{labels}}}"));
        }
    }
    for outcome in ForwardOutcome::ALL {
        let labels = format!(r#"outcome="{}""#, outcome.as_str());
        expected.insert(format!("rejoin_forwards_total{{{labels}}}"));
    }
    let is_counter = |series: &&String| {
        let name = series.split('{').next().unwrap();
        let is_ours = name.starts_with("rejoin_") && name != "rejoin_http_requests_total";
        is_ours && scrape.kinds.get(name).is_some_and(|kind| kind == "counter")
    };
    let counters: BTreeSet<String> = scrape.series.keys().filter(is_counter).cloned().collect();
    assert_eq!(counters, expected);
    for counter in counters {
        assert_eq!(scrape.series[&counter], "0", "{counter}");
    }
}

#[tokio::test]
async fn requests_are_counted_from_0_by_every_route_and_problem_code() {
    let scrape = fresh().await;
    let count = |labels: String| {
        let series = format!("rejoin_http_requests_total{{{labels}}}");
        let value = scrape.series.get(&series);
        value.unwrap_or_else(|| panic!("{series}: {:#?}", scrape.series.keys()))
    };
    let description = rejoin::http::openapi();
    for (path, operations) in description["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let (method, route) = (method.to_uppercase(), path);
            let answered = format!(
                r#"rejoin_http_request_seconds_count{{method="{method}",route="{route}"}}"#
            );
            assert_eq!(scrape.series[&answered], "0");
            let status = match (method.as_str(), route.as_str()) {
                ("DELETE", _) => 204,
                ("POST", "/v1/reconciliations") => 202,
                _ => 200,
            };
            let success = format!(r#"code="",method="{method}",route="{route}",status="{status}""#);
            assert_eq!(count(success), "0");
        }
    }
    let statuses = [
        ("unauthorized", 401),
        ("internal", 500),
        ("database-unavailable", 503),
        ("overloaded", 503),
    ];
    for (code, status) in statuses {
        for (method, route) in [
            ("GET", "/v1/users/{user_id}/resume"),
            ("POST", "/v1/users/{user_id}/resume"),
            ("GET", "/v1/users/{user_id}/snapshots"),
            ("POST", "/v1/rooms/{room_id}/snapshots"),
            ("POST", "/v1/rooms/{room_id}/peers/{peer_id}/snapshots"),
            ("POST", "/v1/webhooks/100ms"),
        ] {
            let labels =
                format!(r#"code="{code}",method="{method}",route="{route}",status="{status}""#);
            assert_eq!(count(labels), "0");
        }
    }
}

#[tokio::test]
async fn the_process_and_its_version_are_shown() {
    let scrape = fresh().await;
    let build = format!(
        r#"rejoin_build_info{{version="{}"}}"#,
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(scrape.series[&build], "1");
    assert_eq!(scrape.series["rejoin_webhooks_enabled"], "0");
    let number = |series: &str| scrape.series[series].parse::<f64>().unwrap();
    assert!(number("process_resident_memory_bytes") > 1e6);
    assert!(number("process_open_fds") > 3.0);
    assert!(number("process_start_time_seconds") > 1.7e9);
}

#[tokio::test]
async fn a_drop_that_a_webhook_reports_is_the_step_from_0_to_1() {
    let (upstream, database) = (Upstream::start().await, postgres::database().await);
    let mut variables = settings(database.url(), &upstream);
    variables.push(("REJOIN_WEBHOOK_SECRETS", WEBHOOK_SECRET));
    let program = Program::start(&[], &variables).await;
    let app = program.app();
    let counts = [
        r#"rejoin_leaves_total{kind="dropped"}"#,
        r#"rejoin_leaves_total{kind="left"}"#,
        r#"rejoin_webhooks_total{outcome="kept",type="peer.leave.success"}"#,
    ];
    let before = Scrape::of(&app).await;
    assert_eq!(before.series["rejoin_webhooks_enabled"], "1");
    assert_eq!(counts.map(|count| &before.series[count]), ["0", "0", "0"]);
    let leave = leave_event("p1", 0, 5, "websocket closed", "");
    send_event(&app, &leave).await.expect(200);
    let after = Scrape::of(&app).await;
    assert_eq!(counts.map(|count| &after.series[count]), ["1", "0", "1"]);
    program.stop().await;
}
