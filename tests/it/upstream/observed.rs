//! What operators see: metrics and log lines, and what they must never see.

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
    ask(&client).await.unwrap();
    ask(&client).await.unwrap_err();
    ask_for_all(&client).await.unwrap();
    for _ in 0..2 {
        client
            .update_peer(&room(), &peer_id(), &PeerUpdate::default())
            .await
            .unwrap_err();
    }
    let told = recorder.handle().render();
    for (operation, outcome, times) in [
        ("peer", "ok", 1),
        ("peer", "room-not-active", 1),
        ("peers", "ok", 1),
        ("update-peer", "upstream-rate-limited", 2),
    ] {
        let line = format!(
            "rejoin_upstream_requests_total{{operation=\"{operation}\",outcome=\"{outcome}\"}} {times}\n"
        );
        assert!(told.contains(&line), "{line} in {told}");
    }
    assert!(
        told.contains("rejoin_upstream_request_seconds_count{operation=\"peer\"} 2\n"),
        "{told}"
    );
}

#[tokio::test]
async fn no_log_line_tells_a_secret() {
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
    let told = logs::captured();
    assert_eq!(
        told.matches("a request to 100ms failed").count(),
        2,
        "{told}"
    );
    assert_eq!(told.matches("upstream-bad-response").count(), 2, "{told}");
    assert!(!told.contains("hush"), "{told}");
}
