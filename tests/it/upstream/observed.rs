//! Metrics and log lines, and what must never be in them.

use metrics_exporter_prometheus::PrometheusBuilder;
use rejoin::hms::PeerUpdate;

use super::*;
use crate::support::logs;

#[tokio::test]
async fn operations_are_counted_by_outcome() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let missing = || Answer::new(404, NOT_FOUND);
    let list = Answer::ok(r#"{"peers":{}}"#);
    let answers = [
        Answer::new(500, ""),
        Answer::ok(PEER_BODY),
        missing(),
        missing(),
        list,
        Answer::new(429, ""),
    ];
    let server = Scripted::answers(answers).await;
    let client = client(&server);
    fetch_peer(&client).await.unwrap();
    fetch_peer(&client).await.unwrap_err();
    fetch_peers(&client).await.unwrap();
    for _ in 0..2 {
        client
            .update_peer(&room(), &peer_id(), &PeerUpdate::default())
            .await
            .unwrap_err();
    }
    let rendered = recorder.handle().render();
    for (operation, outcome, times) in [
        ("peer", "ok", 1),
        ("peer", "room-not-active", 1),
        ("peers", "ok", 1),
        ("update-peer", "upstream-rate-limited", 2),
    ] {
        let line = format!(
            "rejoin_upstream_requests_total{{operation=\"{operation}\",outcome=\"{outcome}\"}} {times}\n"
        );
        assert!(rendered.contains(&line), "{line} in {rendered}");
    }
    assert!(
        rendered.contains("rejoin_upstream_request_seconds_count{operation=\"peer\"} 2\n"),
        "{rendered}"
    );
}

#[tokio::test]
async fn log_lines_name_the_failure_and_no_secret() {
    logs::capture();
    let odd = || Answer::ok("hush-body");
    let server = Scripted::answers([Answer::new(500, "hush-body"), Answer::gone(), odd()]).await;
    let credentials = Credentials::token("hush-token");
    let client = Client::new(ClientConfig {
        credentials,
        ..config(&server)
    })
    .unwrap();
    let user = UserId::parse("hush-user").unwrap();
    client
        .peers(&room(), Some(&user), Some("hush-role"))
        .await
        .unwrap_err();
    let update = PeerUpdate {
        metadata: Some("hush-metadata".into()),
        ..PeerUpdate::default()
    };
    client
        .update_peer(&room(), &peer_id(), &update)
        .await
        .unwrap_err();
    let log = logs::captured();
    assert_eq!(log.matches("a request to 100ms failed").count(), 2, "{log}");
    assert!(log.contains("status 500"), "{log}");
    assert!(log.contains("error sending request"), "{log}");
    assert_eq!(log.matches("upstream-bad-response").count(), 2, "{log}");
    assert!(!log.contains("hush"), "{log}");
}
