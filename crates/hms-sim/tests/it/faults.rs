//! Every fault, as a client sees it.

use std::time::{Duration, Instant};

use hms_sim::{Fault, FaultRule, Join, Operation, RateLimit};
use reqwest::{Method, Response, StatusCode, header};
use serde_json::json;

use super::{ROOM, Running};

async fn spoiled(sim: &Running, fault: Fault) -> Response {
    sim.sim
        .set_faults([FaultRule::times(Operation::Room, 1, fault)]);
    sim.rest(Method::GET, &format!("/active-rooms/{ROOM}"))
        .send()
        .await
        .unwrap()
}

async fn good(sim: &Running) -> bool {
    sim.get(&format!("/active-rooms/{ROOM}")).await.0 == StatusCode::OK
}

async fn with_a_peer() -> Running {
    let sim = Running::start().await;
    sim.sim.join(ROOM, Join::of("player-7")).unwrap();
    sim
}

#[tokio::test]
async fn answers_can_be_errors_of_every_form() {
    let sim = with_a_peer().await;
    for (fault, status, content) in [
        (Fault::Status(503), 503, r#"{"code":503,"#),
        (Fault::Html(502), 502, "<html>"),
        (Fault::Empty(504), 504, ""),
        (Fault::Empty(200), 200, ""),
        (Fault::Garbage, 200, "{\"id\": \u{1}"),
        (
            Fault::Unauthorized,
            401,
            r#"{"code":401,"message":"Token validation error","details":["not found"]}"#,
        ),
        (Fault::Forbidden, 403, r#"{"code":403,"#),
        (
            Fault::Answer {
                status: 400,
                content_type: None,
                body: "exactly".into(),
            },
            400,
            "exactly",
        ),
    ] {
        let response = spoiled(&sim, fault.clone()).await;
        assert_eq!(response.status().as_u16(), status, "{fault:?}");
        let body = response.text().await.unwrap();
        assert!(
            body.starts_with(content) && body.is_empty() == content.is_empty(),
            "{fault:?}: {body}"
        );
        assert!(good(&sim).await, "after {fault:?}");
    }
    let response = spoiled(&sim, Fault::Redirect("http://elsewhere.example/".into())).await;
    assert_eq!(
        (response.status(), &response.headers()[header::LOCATION]),
        (
            StatusCode::FOUND,
            &"http://elsewhere.example/".parse().unwrap(),
        )
    );
    sim.stop().await;
}

#[tokio::test]
async fn rate_limits_come_in_every_form() {
    let sim = with_a_peer().await;
    let response = spoiled(&sim, Fault::RateLimit(RateLimit::Header(3))).await;
    assert_eq!(
        (
            response.status().as_u16(),
            &response.headers()["retry-after"]
        ),
        (429, &"3".parse().unwrap())
    );
    let response = spoiled(&sim, Fault::RateLimit(RateLimit::Date(3))).await;
    let end = response.headers()["retry-after"].to_str().unwrap();
    let end = chrono::DateTime::parse_from_rfc2822(end).unwrap();
    let wait = (end.to_utc() - chrono::Utc::now()).as_seconds_f64();
    assert!((0.0..=3.0).contains(&wait), "{wait} s");
    let response = spoiled(&sim, Fault::RateLimit(RateLimit::Nonsense)).await;
    assert_eq!(response.headers()["retry-after"], "in a while");
    let response = spoiled(&sim, Fault::RateLimit(RateLimit::Message(45))).await;
    assert!(response.headers().get("retry-after").is_none());
    let body: serde_json::Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(
        body["message"],
        "rate limit exceeded, retry after 45 seconds"
    );
    let response = spoiled(&sim, Fault::RateLimit(RateLimit::Bare)).await;
    assert_eq!(
        (
            response.status().as_u16(),
            response.text().await.unwrap().as_str()
        ),
        (429, "")
    );
    sim.stop().await;
}

#[tokio::test]
async fn a_cut_body_announces_more_than_it_brings() {
    let sim = with_a_peer().await;
    let mut response = spoiled(&sim, Fault::CutBody).await;
    assert_eq!(response.status(), StatusCode::OK);
    let announced = response.content_length().unwrap();
    let first = response.chunk().await.unwrap().unwrap();
    assert!((first.len() as u64) < announced && first.starts_with(b"{"));
    assert!(response.chunk().await.is_err());
    assert!(good(&sim).await);
    sim.stop().await;
}

#[tokio::test]
async fn a_flood_has_the_requested_size() {
    let sim = with_a_peer().await;
    let response = spoiled(&sim, Fault::Flood(3_000_000)).await;
    assert_eq!(response.content_length(), None);
    assert!(response.bytes().await.unwrap().len() > 3_000_000);
    sim.stop().await;
}

#[tokio::test]
async fn delays_come_on_top_of_what_else_happens() {
    let sim = with_a_peer().await;
    let (delay, fault) = (Fault::DelayMs(150), Fault::Status(500));
    sim.sim.set_faults([
        FaultRule::always(Operation::Any, delay),
        FaultRule::times(Operation::Room, 1, fault),
    ]);
    let start = Instant::now();
    assert!(!good(&sim).await);
    assert!(start.elapsed() >= Duration::from_millis(150));
    assert!(good(&sim).await);
    assert!(start.elapsed() >= Duration::from_millis(300));
    sim.stop().await;
}

#[tokio::test]
async fn a_hanging_request_gets_no_answer_and_holds_up_no_shutdown() {
    let sim = with_a_peer().await;
    sim.sim
        .set_faults([FaultRule::always(Operation::Room, Fault::Hang)]);
    let request = sim.rest(Method::GET, &format!("/active-rooms/{ROOM}"));
    let error = request
        .try_clone()
        .unwrap()
        .timeout(Duration::from_millis(200))
        .send()
        .await
        .unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert_eq!(sim.sim.requests()[0].status, None);
    let hanging = tokio::spawn(request.send());
    super::until(|| sim.sim.request_count() == 2).await;
    sim.stop().await;
    hanging.abort();
}

#[tokio::test]
async fn rules_match_by_call_and_count() {
    let sim = with_a_peer().await;
    let rules = json!([
        { "operation": "peers", "skip": 1, "times": 2, "fault": { "status": 500 } },
        { "operation": "session", "fault": "unauthorized" },
    ]);
    let (status, _) = sim
        .control(Method::PUT, "/faults", &rules.to_string())
        .await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let mut statuses = Vec::new();
    for _ in 0..4 {
        assert!(good(&sim).await);
        statuses.push(
            sim.get(&format!("/active-rooms/{ROOM}/peers"))
                .await
                .0
                .as_u16(),
        );
    }
    assert_eq!(statuses, [200, 500, 500, 200]);
    assert_eq!(sim.get("/sessions/any").await.0, StatusCode::UNAUTHORIZED);
    let (_, left) = sim.control(Method::GET, "/faults", "").await;
    assert_eq!(
        (&left[0]["times"], &left[0]["skip"]),
        (&json!(0), &json!(0))
    );
    sim.control(Method::DELETE, "/faults", "").await;
    assert_eq!(sim.get("/sessions/any").await.0, StatusCode::NOT_FOUND);
    sim.stop().await;
}

#[tokio::test]
async fn every_fault_can_be_written_as_documented() {
    let sim = Running::start().await;
    let faults = r#"[{"status": 500}, {"delay_ms": 200}, "cut_body", "hang", {"rate_limit": {"header": 3}}, {"rate_limit": {"message": 45}},
        {"rate_limit": {"date": 3}}, {"rate_limit": "nonsense"}, {"rate_limit": "bare"}, {"html": 502}, {"empty": 503}, {"redirect": "http://x/"}, "garbage", "unauthorized", "forbidden",
        {"flood": 10}, {"answer": {"status": 200, "body": "{}"}}]"#;
    let faults: Vec<serde_json::Value> = serde_json::from_str(faults).unwrap();
    let rules: Vec<_> = faults
        .iter()
        .map(|fault| json!({ "fault": fault }))
        .collect();
    let (status, body) = sim
        .control(Method::PUT, "/faults", &json!(rules).to_string())
        .await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{body}");
    assert_eq!(sim.sim.faults().len(), faults.len());
    let (status, _) = sim
        .control(Method::PUT, "/faults", r#"[{"fault": "unheard-of"}]"#)
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    sim.stop().await;
}

#[tokio::test]
async fn every_call_has_a_fault_of_its_own() {
    let sim = Running::start().await;
    for (operation, method, path) in [
        ("peer", "GET", "/active-rooms/r/peers/p"),
        ("peers", "GET", "/active-rooms/r/peers"),
        ("room", "GET", "/active-rooms/r"),
        ("update", "POST", "/active-rooms/r/peers/p"),
        ("session", "GET", "/sessions/s"),
        ("sessions", "GET", "/sessions"),
        ("rooms", "GET", "/rooms"),
        ("create_room", "POST", "/rooms"),
        ("retrieve_room", "GET", "/rooms/r"),
        ("update_room", "POST", "/rooms/r"),
        ("remove_peers", "POST", "/active-rooms/r/remove-peers"),
        ("end_room", "POST", "/active-rooms/r/end-room"),
        ("send_message", "POST", "/active-rooms/r/send-message"),
        ("webhook_events", "GET", "/analytics/webhooks"),
        ("replay", "POST", "/analytics/webhooks/replay"),
        ("replay_status", "GET", "/analytics/webhooks/replay/w"),
    ] {
        let rules = json!([{ "operation": operation, "fault": { "status": 418 } }]);
        sim.control(Method::PUT, "/faults", &rules.to_string())
            .await;
        let method: Method = method.parse().unwrap();
        let response = sim.rest(method, path).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::IM_A_TEAPOT, "{operation}");
        let (status, _) = sim.get("/elsewhere").await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{operation}");
    }
    sim.stop().await;
}
