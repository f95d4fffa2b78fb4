//! Webhooks: payloads as documented, retries, and everything that goes wrong on the way.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use hms_sim::{
    DeliveryState, DropOptions, Effect, Join, LeaveAt, Replay, WebhookRule, WebhookSettings,
    WebhookTarget, WireMetadata,
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{ROOM, Running, shape, until};

const JOINED: &str = r#"{
  "version": "2.0", "id": "6c75de35-b778-4fb0-88ae-114c28dc285f", "account_id": "60b8e13a6eb86d8101b57354",
  "timestamp": "2026-03-01T10:05:31Z", "type": "peer.join.success",
  "data": {
    "joined_at": "2026-03-01T10:05:31.000000001Z", "peer_id": "6d1f0c9e-3b8e-4c0b-8a5d-0d1c2b3a4e5f", "role": "player",
    "room_id": "627cda81ab4f3b56a077dc33", "room_name": "arena-12", "session_id": "633c22b420636a0cb361dea0",
    "template_id": "66112497abcd52312556c4aa", "type": "regular", "user_id": "player-7", "user_name": "player seven", "user_data": "",
    "session_started_at": "2026-03-01T09:58:00.939011796Z"
  }
}"#;

const LEFT: &str = r#"{
  "version": "2.0", "id": "0f0b1c52-8b1c-4a55-9f6e-5a3f7f9f2b11", "account_id": "60b8e13a6eb86d8101b57354",
  "timestamp": "2026-03-01T10:06:12Z", "type": "peer.leave.success",
  "data": {
    "duration": 372, "joined_at": "2026-03-01T10:00:00.123456789Z", "left_at": "2026-03-01T10:06:12.500451704Z",
    "peer_id": "1038fa72-9345-4651-beab-436f9242ebf4", "reason": "websocket closed", "message": "", "role": "player",
    "room_id": "627cda81ab4f3b56a077dc33", "room_name": "arena-12", "session_id": "633c22b420636a0cb361dea0",
    "template_id": "66112497abcd52312556c4aa", "type": "regular", "user_id": "player-7", "user_name": "player seven",
    "user_data": "{\"checkpoint\":\"cave-3\",\"hp\":71}", "session_started_at": "2026-03-01T09:58:00.939011796Z"
  }
}"#;

/// A receiver that stores what it gets, and gives the answers it was set up with, then 200.
#[derive(Clone, Default)]
pub(super) struct Receiver {
    pub(super) got: Arc<Mutex<Vec<(Instant, HeaderMap, String)>>>,
    answers: Arc<Mutex<VecDeque<u16>>>,
}

impl Receiver {
    pub(super) fn answering(&self, answers: &[u16]) {
        self.answers.lock().unwrap().extend(answers);
    }

    pub(super) fn count(&self) -> usize {
        self.got.lock().unwrap().len()
    }

    pub(super) fn bodies(&self) -> Vec<Value> {
        self.got
            .lock()
            .unwrap()
            .iter()
            .map(|got| serde_json::from_str(&got.2).unwrap())
            .collect()
    }

    pub(super) fn types(&self) -> Vec<String> {
        self.bodies()
            .iter()
            .map(|body| body["type"].as_str().unwrap().to_owned())
            .collect()
    }

    pub(super) async fn serve(&self) -> String {
        let receiver = self.clone();
        let router = Router::new().fallback(async move |headers: HeaderMap, body: Bytes| {
            let body = String::from_utf8(body.to_vec()).unwrap();
            receiver
                .got
                .lock()
                .unwrap()
                .push((Instant::now(), headers, body));
            let status = receiver.answers.lock().unwrap().pop_front().unwrap_or(200);
            StatusCode::from_u16(status).unwrap()
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, router).into_future());
        url
    }
}

pub(super) async fn start() -> (Running, Receiver) {
    let (sim, receiver) = (Running::start().await, Receiver::default());
    let url = receiver.serve().await;
    sim.sim.set_webhook_target(Some(
        WebhookTarget::new(&url, "x-rejoin-secret", "s3cret".into()).unwrap(),
    ));
    (sim, receiver)
}

fn rules(rules: Vec<WebhookRule>) -> WebhookSettings {
    WebhookSettings {
        rules,
        ..WebhookSettings::default()
    }
}

#[tokio::test]
async fn a_drop_and_rejoin_is_reported_in_the_documented_payloads() {
    let (sim, receiver) = start().await;
    let data = "{\"checkpoint\":\"cave-3\",\"hp\":71}";
    let old = sim
        .sim
        .join(
            ROOM,
            Join::of("player-7").with_metadata(WireMetadata::text(data)),
        )
        .unwrap();
    sim.pass(Duration::from_secs(312));
    sim.sim
        .drop_peer(ROOM, &old.id, DropOptions::default())
        .unwrap();
    let new = sim.sim.join(ROOM, Join::of("player-7")).unwrap();
    until(|| receiver.count() == 3).await;
    sim.pass(Duration::from_secs(61));
    // Nobody asks for anything: the ghost goes by the timer.
    until(|| receiver.count() == 4).await;
    assert_eq!(
        receiver.types(),
        [
            "session.open.success",
            "peer.join.success",
            "peer.join.success",
            "peer.leave.success"
        ]
    );
    let bodies = receiver.bodies();
    assert_eq!(
        shape(&bodies[2]),
        shape(&serde_json::from_str(JOINED).unwrap())
    );
    assert_eq!(
        (
            &bodies[2]["data"]["peer_id"],
            &bodies[2]["data"]["user_data"]
        ),
        (&json!(new.id), &json!(""))
    );
    assert_eq!(
        shape(&bodies[3]),
        shape(&serde_json::from_str(LEFT).unwrap())
    );
    let left = &bodies[3]["data"];
    assert_eq!(
        (&left["peer_id"], &left["user_data"]),
        (&json!(old.id), &json!(data))
    );
    assert_eq!(left["reason"], "websocket closed");
    assert!(
        (372..400).contains(&left["duration"].as_i64().unwrap()),
        "{left}"
    );
    assert_eq!(
        bodies[3]["timestamp"].as_str().unwrap().len(),
        "2026-03-01T10:06:12Z".len()
    );
    for (_, headers, _) in receiver.got.lock().unwrap().iter() {
        assert_eq!(
            (&headers["x-rejoin-secret"], &headers["content-type"]),
            (
                &"s3cret".parse().unwrap(),
                &"application/json".parse().unwrap(),
            )
        );
    }
    sim.stop().await;
}

#[tokio::test]
async fn every_way_out_has_its_reason() {
    let (sim, receiver) = start().await;
    let join = || sim.sim.join(ROOM, Join::of("p")).unwrap().id;
    let at_drop = DropOptions {
        leave_at: Some(LeaveAt::Drop),
        ..DropOptions::default()
    };
    sim.sim.drop_peer(ROOM, &join(), at_drop).unwrap();
    sim.sim.leave(ROOM, &join()).unwrap();
    sim.sim.kick(ROOM, &join(), "be nice").unwrap();
    let last = join();
    super::answer(
        sim.rest(Method::POST, &format!("/active-rooms/{ROOM}/peers/{last}"))
            .body(r#"{"role":"host"}"#),
    )
    .await;
    sim.sim.end_room(ROOM, None).unwrap();
    until(|| sim.sim.pending_deliveries() == 0).await;
    let bodies: Vec<_> = receiver
        .bodies()
        .into_iter()
        .filter(|body| body["type"] != "peer.join.success")
        .collect();
    let reasons: Vec<_> = bodies
        .iter()
        .filter_map(|body| body["data"]["reason"].as_str())
        .collect();
    assert_eq!(
        reasons,
        ["websocket closed", "client request", "peer kicked"]
    );
    assert_eq!(bodies[3]["data"]["message"], "be nice");
    assert_eq!(
        (&bodies[4]["type"], &bodies[4]["data"]["previous_role"]),
        (&json!("role.change.success"), &json!("player"))
    );
    assert!(bodies[4]["data"]["role_changed_at"].is_string());
    assert_eq!(
        (&bodies[5]["type"], &bodies[6]["type"]),
        (&json!("room.end.success"), &json!("session.close.success"))
    );
    assert_eq!(bodies[5]["data"]["room_id"], ROOM);
    let closed = &bodies[6]["data"];
    assert!(closed["session_stopped_at"].is_string() && closed["session_duration"].is_i64());
    sim.stop().await;
}

#[tokio::test]
async fn anything_but_200_is_retried_at_the_documented_times_then_dropped() {
    let (sim, receiver) = start().await;
    sim.sim.set_webhook_settings(WebhookSettings {
        time_scale: 0.1,
        ..WebhookSettings::default()
    });
    receiver.answering(&[500, 204, 302, 400]);
    let start = Instant::now();
    sim.sim.send_webhook(r#"{"type":"test"}"#);
    until(|| sim.sim.pending_deliveries() == 0).await;
    let at: Vec<_> = receiver
        .got
        .lock()
        .unwrap()
        .iter()
        .map(|got| got.0.duration_since(start).as_millis())
        .collect();
    assert_eq!(at.len(), 4);
    for (at, due) in at.into_iter().zip([0, 100, 400, 1400]) {
        assert!(at >= due, "{at} ms instead of {due}");
    }
    let delivery = sim.sim.deliveries().pop().unwrap();
    assert_eq!(delivery.state, DeliveryState::Dropped);
    assert_eq!(
        delivery
            .attempts
            .iter()
            .map(|attempt| attempt.status)
            .collect::<Vec<_>>(),
        [Some(500), Some(204), Some(302), Some(400)]
    );

    receiver.answering(&[503]);
    sim.sim.send_webhook(r#"{"type":"test"}"#);
    until(|| sim.sim.pending_deliveries() == 0).await;
    let delivery = sim.sim.deliveries().pop().unwrap();
    assert_eq!(
        (delivery.state, delivery.attempts.len()),
        (DeliveryState::Delivered, 2)
    );
    sim.stop().await;
}

#[tokio::test]
async fn a_receiver_that_is_away_counts_as_a_failed_attempt() {
    let sim = Running::start().await;
    sim.sim.set_webhook_target(Some(
        WebhookTarget::new("http://127.0.0.1:1/", "x-s", "s".into()).unwrap(),
    ));
    sim.sim.set_webhook_settings(WebhookSettings {
        time_scale: 0.0,
        ..WebhookSettings::default()
    });
    sim.sim.send_webhook("{}");
    until(|| sim.sim.pending_deliveries() == 0).await;
    let delivery = sim.sim.deliveries().pop().unwrap();
    assert_eq!(
        (delivery.state, delivery.attempts.len()),
        (DeliveryState::Dropped, 4)
    );
    assert!(
        delivery
            .attempts
            .iter()
            .all(|attempt| attempt.status.is_none() && attempt.error.is_some())
    );
    sim.stop().await;
}

#[tokio::test]
async fn events_can_be_lost_duplicated_and_delayed() {
    let (sim, receiver) = start().await;
    sim.sim.set_webhook_settings(rules(vec![
        WebhookRule {
            times: Some(1),
            ..WebhookRule::always(&["session.open.success"], Effect::Lose)
        },
        WebhookRule {
            times: Some(1),
            ..WebhookRule::always(&["peer.join.success"], Effect::Duplicate(2))
        },
        WebhookRule::always(&["peer.leave.success"], Effect::DelayMs(200)),
    ]));
    let peer = sim.sim.join(ROOM, Join::of("p")).unwrap();
    sim.sim.leave(ROOM, &peer.id).unwrap();
    until(|| sim.sim.pending_deliveries() == 0).await;
    let join = "peer.join.success";
    assert_eq!(
        receiver.types(),
        [
            join,
            join,
            join,
            "session.close.success",
            "peer.leave.success"
        ]
    );
    let bodies = receiver.bodies();
    assert_eq!(bodies[0], bodies[1]);
    assert_eq!(sim.sim.deliveries()[0].state, DeliveryState::Lost);
    sim.stop().await;
}

#[tokio::test]
async fn events_can_arrive_in_reverse() {
    let (sim, receiver) = start().await;
    sim.sim
        .set_webhook_settings(rules(vec![WebhookRule::always(&[], Effect::Reorder(3))]));
    let peer = sim.sim.join(ROOM, Join::of("p")).unwrap();
    assert_eq!(sim.sim.deliveries()[0].state, DeliveryState::Held);
    sim.sim.leave(ROOM, &peer.id).unwrap();
    until(|| receiver.count() == 3).await;
    assert_eq!(
        receiver.types(),
        [
            "peer.leave.success",
            "peer.join.success",
            "session.open.success"
        ]
    );
    assert_eq!(sim.sim.pending_deliveries(), 1);
    sim.sim.set_webhook_settings(WebhookSettings::default());
    until(|| receiver.count() == 4).await;
    sim.stop().await;
}

#[tokio::test]
async fn past_events_can_be_replayed() {
    let (sim, receiver) = start().await;
    sim.sim
        .set_webhook_settings(rules(vec![WebhookRule::always(&[], Effect::Lose)]));
    sim.sim.join(ROOM, Join::of("p")).unwrap();
    assert_eq!(receiver.count(), 0);
    assert_eq!(sim.sim.replay(&Replay::default()), 2);
    let (_, replayed) = sim
        .control(
            Method::POST,
            "/webhooks/replay",
            r#"{"types": ["peer.join.success"], "in_data": true}"#,
        )
        .await;
    assert_eq!(replayed, json!({ "replayed": 1 }));
    until(|| receiver.count() == 3).await;
    let bodies = receiver.bodies();
    let marks: Vec<_> = bodies
        .iter()
        .map(|body| (&body["is_replay"], &body["data"]["is_replay"]))
        .collect();
    let (yes, no) = (&json!(true), &json!(null));
    assert_eq!(marks.iter().filter(|mark| **mark == (yes, no)).count(), 2);
    assert_eq!(marks.iter().filter(|mark| **mark == (no, yes)).count(), 1);
    sim.stop().await;
}

#[tokio::test]
async fn webhooks_are_set_up_and_watched_over_http() {
    let (sim, receiver) = (Running::start().await, Receiver::default());
    let target = json!({ "url": receiver.serve().await, "header": "x-mine", "secret": "abc" });
    assert_eq!(
        sim.control(Method::PUT, "/webhooks/target", &target.to_string())
            .await
            .0,
        StatusCode::NO_CONTENT
    );
    let settings = r#"{"rules": [{"types": ["peer.join.success"], "times": 1, "effect": {"duplicate": 1}}, {"effect": {"delay_ms": 1}}],
        "leave_at": "drop", "drop_reason": "ice connection state closed", "time_scale": 0.01, "parallel": 4}"#;
    assert_eq!(
        sim.control(Method::PUT, "/webhooks", settings).await.0,
        StatusCode::NO_CONTENT
    );
    let peer = sim.sim.join(ROOM, Join::of("p")).unwrap();
    sim.sim
        .drop_peer(ROOM, &peer.id, DropOptions::default())
        .unwrap();
    until(|| sim.sim.pending_deliveries() == 0).await;
    let (_, shown) = sim.control(Method::GET, "/webhooks", "").await;
    assert_eq!(
        (&shown["pending"], &shown["settings"]["leave_at"]),
        (&json!(0), &json!("drop"))
    );
    let states: Vec<_> = shown["deliveries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|delivery| &delivery["state"])
        .collect();
    assert_eq!(states, [&json!("delivered"); 4]);
    assert_eq!(receiver.got.lock().unwrap()[0].1["x-mine"], "abc");
    assert!(
        receiver
            .bodies()
            .iter()
            .any(|body| body["data"]["reason"] == "ice connection state closed")
    );

    assert_eq!(
        sim.control(Method::DELETE, "/webhooks/target", "").await.0,
        StatusCode::NO_CONTENT
    );
    sim.sim.join(ROOM, Join::of("p")).unwrap();
    assert_eq!(
        sim.sim.deliveries().pop().unwrap().state,
        DeliveryState::Lost
    );
    assert_eq!(
        sim.control(
            Method::PUT,
            "/webhooks/target",
            r#"{"url": "nowhere", "secret": ""}"#
        )
        .await
        .0,
        400
    );
    sim.stop().await;
}

#[tokio::test]
async fn thousands_of_duplicates_keep_a_bounded_log() {
    let (sim, receiver) = start().await;
    let many = rules(vec![WebhookRule::always(
        &["peer.join.success"],
        Effect::Duplicate(1199),
    )]);
    sim.sim.set_webhook_settings(WebhookSettings {
        parallel: 16,
        ..many
    });
    sim.sim.join(ROOM, Join::of("p")).unwrap();
    until(|| sim.sim.pending_deliveries() == 0).await;
    assert_eq!((receiver.count(), sim.sim.deliveries().len()), (1201, 1000));
    sim.stop().await;
}
