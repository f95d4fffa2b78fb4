//! The description of the API says what the service does, and all of it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::problem;
use crate::support::world::{Answer, World};

/// The codes of the description, with their statuses.
pub(super) fn codes() -> BTreeMap<String, u16> {
    let openapi = rejoin::http::openapi();
    let description = openapi["info"]["description"].as_str().unwrap();
    let rows = description
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    rows.map(|(code, rest)| (code.to_owned(), rest[..3].parse().unwrap()))
        .collect()
}

#[test]
fn the_codes_are_those_of_the_contract() {
    let contract = [
        ("invalid-request", 400),
        ("unauthorized", 401),
        ("forbidden", 403),
        ("room-not-active", 404),
        ("peer-not-found", 404),
        ("no-saved-metadata", 404),
        ("room-not-watched", 404),
        ("saved-metadata-too-old", 404),
        ("not-dropped", 409),
        ("peer-not-of-user", 409),
        ("already-claimed", 409),
        ("not-found", 404),
        ("method-not-allowed", 405),
        ("payload-too-large", 413),
        ("peer-without-user-id", 422),
        ("metadata-too-large", 422),
        ("metadata-not-representable", 422),
        ("upstream-unauthorized", 502),
        ("upstream-bad-response", 502),
        ("upstream-unavailable", 502),
        ("upstream-timeout", 504),
        ("upstream-rate-limited", 503),
        ("database-unavailable", 503),
        ("overloaded", 503),
        ("internal", 500),
    ];
    assert_eq!(
        codes(),
        contract
            .map(|(code, status)| (code.to_owned(), status))
            .into()
    );
}

#[tokio::test]
async fn every_route_is_described_and_every_description_is_a_route() {
    let (_world, app) = World::with_app().await;
    let served = app.get("/openapi.json").await.expect(200);
    assert!(
        served
            .header("content-type")
            .starts_with("application/json")
    );
    let described = served.json();
    let paths = described["paths"].as_object().unwrap();
    let expected: BTreeSet<&str> = [
        "/v1/rooms/{room_id}/peers/{peer_id}/snapshots",
        "/v1/rooms/{room_id}/snapshots",
        "/v1/rooms/{room_id}/watch",
        "/v1/watches",
        "/v1/forwards",
        "/v1/forwards/retry",
        "/v1/forwards/{forward_id}/retry",
        "/v1/reconciliations",
        "/v1/reconciliations/{reconciliation_id}",
        "/v1/users/{user_id}/resume",
        "/v1/users/{user_id}/snapshots",
        "/v1/webhooks/100ms",
        "/health/live",
        "/health/ready",
        "/metrics",
    ]
    .into();
    assert_eq!(
        paths.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        expected
    );
    for (path, methods) in paths {
        let real = path
            .replace("{room_id}", "r")
            .replace("{peer_id}", "p")
            .replace("{user_id}", "u")
            .replace("{forward_id}", "0190a5b2-6f1e-4c2a-9d37-52c8f0e4a911")
            .replace("{reconciliation_id}", &uuid::Uuid::nil().to_string());
        for method in methods.as_object().unwrap().keys() {
            let request = app.request(method.to_uppercase().parse().unwrap(), &real);
            let request = match path.as_str() {
                "/v1/reconciliations" if method == "post" => {
                    request.body(r#"{"since": "2026-11-01T00:00:00Z"}"#)
                }
                _ => request,
            };
            let answer = Answer::to(request).await;
            let missing = [
                "room-not-active",
                "no-saved-metadata",
                "room-not-watched",
                "not-found",
            ];
            let found = answer.status.is_success() || missing.contains(&&*answer.code());
            assert!(found, "{method} {path}: {}", answer.text);
        }
        // The router allows what is described (and HEAD, where there is a GET), and nothing else.
        let refused = problem(
            Answer::to(app.request(reqwest::Method::PATCH, &real)).await,
            405,
            "method-not-allowed",
        );
        let allowed = refused.header("allow").replace(",HEAD", "").to_lowercase();
        let allowed: BTreeSet<&str> = allowed.split(',').collect();
        assert_eq!(
            methods
                .as_object()
                .unwrap()
                .keys()
                .map(String::as_str)
                .collect::<BTreeSet<_>>(),
            allowed,
            "{path}"
        );
    }
}

/// The fields that the description requires are the fields of the answers.
#[tokio::test]
async fn the_answers_have_the_fields_that_are_described() {
    let (world, app) = World::with_app().await;
    world.join("player-7", "peer-1", "x");
    let snapshot = app.snapshot("peer-1").await.expect(201).json();
    let room = app.snapshot_room().await.expect(200).json();
    let resume = app.resume("player-7").await.expect(200).json();
    let history = app.history("player-7").await.expect(200).json();
    let failure = app.resume("nobody").await.expect(404).json();
    let schemas = app.get("/openapi.json").await.json()["components"]["schemas"].clone();
    let described = [
        ("Snapshot", snapshot),
        ("RoomSnapshot", room),
        ("Resume", resume),
        ("History", history),
        ("Problem", failure),
    ];
    for (name, answer) in described {
        let names = |value: &Value| {
            value
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect::<BTreeSet<_>>()
        };
        assert_eq!(
            names(&schemas[name]["properties"]),
            names(&answer),
            "{name}"
        );
        let required: BTreeSet<String> =
            serde_json::from_value(schemas[name]["required"].clone()).unwrap();
        assert_eq!(
            required,
            names(&answer),
            "{name}: every field is always there"
        );
    }
}

/// The examples are events that were sent.
#[test]
fn the_own_events_have_the_fields_that_are_described() {
    let openapi = rejoin::http::openapi();
    let webhooks = openapi["webhooks"].as_object().unwrap();
    assert_eq!(webhooks.len(), 4);
    for (event_type, item) in webhooks {
        let content = &item["post"]["requestBody"]["content"]["application/json"];
        let reference = content["schema"]["$ref"].as_str().unwrap();
        let schema = openapi.pointer(reference.trim_start_matches('#')).unwrap();
        let event = &content["example"];
        assert_eq!(event["type"], **event_type);
        assert_eq!(schema["properties"]["type"]["const"], **event_type);
        for (schema, sent, optional) in [
            (schema, event, &[][..]),
            (
                &schema["properties"]["data"],
                &event["data"],
                &["metadata", "metadata_raw"],
            ),
        ] {
            let described: BTreeSet<&String> =
                schema["properties"].as_object().unwrap().keys().collect();
            let sent: BTreeSet<&String> = sent.as_object().unwrap().keys().collect();
            assert_eq!(described, sent, "{event_type}");
            let required: BTreeSet<String> =
                serde_json::from_value(schema["required"].clone()).unwrap();
            let always = sent
                .into_iter()
                .filter(|name| !optional.contains(&&***name));
            assert_eq!(required, always.cloned().collect(), "{event_type}");
        }
    }
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere() {
    let (_world, app) = World::with_app().await;
    let to = app.get("/docs").await;
    assert!(to.status.is_redirection(), "{}", to.status);
    let page = app.get("/docs/").await.expect(200);
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.text.contains("<title>rejoin: the API</title>"));
    assert!(page.text.contains(r#"<meta name="viewport""#));
    let sources: Vec<&str> = ["src=\"", "href=\""]
        .iter()
        .flat_map(|attribute| {
            page.text
                .split(attribute)
                .skip(1)
                .map(|rest| rest.split('"').next().unwrap())
        })
        .collect();
    assert!(sources.len() >= 5, "{sources:?}");
    for source in sources {
        assert!(!source.contains("//"), "{source}");
        app.get(&format!("/docs/{}", source.trim_start_matches("./")))
            .await
            .expect(200);
    }
    let settings = app
        .get("/docs/swagger-initializer.js")
        .await
        .expect(200)
        .text;
    // Where it is unset, the page sends the service's address to swagger.io.
    assert!(settings.contains(r#""validatorUrl": "none""#), "{settings}");
    assert!(
        settings.contains("/openapi.json") && !settings.contains("://"),
        "{settings}"
    );
}

#[test]
fn the_committed_description_is_that_of_the_code() {
    let committed = include_str!("../../../openapi.json");
    let current = format!("{:#}", rejoin::http::openapi());
    assert!(
        committed.trim_end() == current,
        "openapi.json is out of date: renew it with `cargo run -- openapi > openapi.json`"
    );
}
