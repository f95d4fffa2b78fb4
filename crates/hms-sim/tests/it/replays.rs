//! The delivery history of webhooks and their replay, through the REST API.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use hms_sim::{Fault, FaultRule, Join, Operation, RateLimit, Sim};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::webhooks::start;
use super::{ROOM, Running, answer, shape, until};

const HISTORY: &str = include_str!("payloads/webhook-events.json");
const REPLAY: &str = include_str!("payloads/webhook-replay.json");

async fn replay(sim: &Running, body: &Value) -> (StatusCode, Value) {
    answer(
        sim.rest(Method::POST, "/analytics/webhooks/replay")
            .body(body.to_string()),
    )
    .await
}

async fn workflow(sim: &Running, started: &Value) -> Value {
    let id = started["workflow_id"].as_str().unwrap();
    let (status, state) = sim.get(&format!("/analytics/webhooks/replay/{id}")).await;
    assert_eq!(status, StatusCode::OK, "{state}");
    state
}

async fn ended(sim: &Running, started: &Value) -> Value {
    for _ in 0..3000 {
        let state = workflow(sim, started).await;
        if state["status"] != "Running" {
            return state;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the replay did not end within half a minute");
}

/// Peers join while every event is lost: `peers` joins, and the session's opening.
fn miss(sim: &Sim, peers: usize) {
    sim.lose_webhooks();
    for peer in 0..peers {
        sim.join(ROOM, Join::of(&format!("player-{peer}"))).unwrap();
    }
    sim.deliver_webhooks();
}

async fn settings(sim: &Running, settings: &Value) {
    let (status, answer) = sim
        .control(Method::PUT, "/webhooks", &settings.to_string())
        .await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[tokio::test]
async fn what_was_lost_is_in_the_history_and_comes_with_a_replay() {
    let (sim, receiver) = start().await;
    settings(&sim, &json!({ "replays": { "mark": "nowhere" } })).await;
    let early = sim.sim.join(ROOM, Join::of("early")).unwrap();
    until(|| receiver.count() == 2).await;
    let outage = "/webhooks/outage";
    let lost = sim.control(Method::PUT, outage, "").await;
    assert_eq!(lost.0, StatusCode::NO_CONTENT);
    let late = sim.sim.join(ROOM, Join::of("late")).unwrap();
    sim.sim.leave(ROOM, &early.id).unwrap();
    sim.control(Method::DELETE, outage, "").await;
    sim.sim.leave(ROOM, &late.id).unwrap();
    until(|| receiver.count() == 4).await;

    let (status, failed) = sim.get("/analytics/webhooks?status=failed").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        shape(&failed),
        shape(&serde_json::from_str(HISTORY).unwrap())
    );
    let events = failed["events"].as_array().unwrap();
    let names: Vec<_> = events
        .iter()
        .map(|event| &event["payload"]["original_event_name"])
        .collect();
    assert_eq!(names, ["peer.leave.success", "peer.join.success"]);
    assert_eq!(
        events[1]["payload"]["event_data"],
        json!({ "session_id": late.session_id, "peer_id": late.id, "user_id": "late" })
    );
    let (_, delivered) = sim.get("/analytics/webhooks?status=success").await;
    assert_eq!(delivered["pagination"]["total_items"], 4);
    assert_eq!(
        delivered["events"][0]["payload"]["error_reason"],
        json!(null)
    );

    let (status, started) = replay(&sim, &json!({})).await;
    assert_eq!(status, StatusCode::OK);
    let documented: Value = serde_json::from_str(REPLAY).unwrap();
    assert_eq!(shape(&started), shape(&documented["started"]));
    let state = ended(&sim, &started).await;
    assert_eq!(
        (&state["status"], &state["result"]),
        (
            &json!("completed"),
            &json!({ "total": 2, "completed": 2, "failed": 0, "failed_events": [] })
        )
    );
    let replayed = receiver.bodies().split_off(4);
    let ids: Vec<_> = replayed.iter().map(|body| &body["id"]).collect();
    assert_eq!(ids, [&events[1]["event_id"], &events[0]["event_id"]]);
    assert_eq!(replayed[0]["data"]["peer_id"], late.id);
    sim.stop().await;
}

#[tokio::test]
async fn a_replay_sends_the_bytes_of_the_original() {
    let (sim, receiver) = start().await;
    sim.sim.join(ROOM, Join::of("p")).unwrap();
    until(|| receiver.count() == 2).await;
    for mark in ["nowhere", "top_level", "data"] {
        settings(&sim, &json!({ "replays": { "mark": mark } })).await;
        let all = json!({ "status": "success", "event_names": ["peer.join.success"] });
        let (_, started) = replay(&sim, &all).await;
        ended(&sim, &started).await;
    }
    let got: Vec<String> = receiver
        .got
        .lock()
        .unwrap()
        .iter()
        .map(|got| got.2.clone())
        .collect();
    let (original, replayed) = (&got[1], &got[2..]);
    assert_eq!(&replayed[0], original);
    let bodies = receiver.bodies();
    assert_eq!(bodies[3]["is_replay"], true);
    assert_eq!(bodies[4]["data"]["is_replay"], true);
    let unmarked = replayed[1].replace(r#","is_replay":true"#, "");
    assert_eq!(&unmarked, original);
    sim.stop().await;
}

#[tokio::test]
async fn replays_keep_their_pace_and_an_identical_one_joins() {
    let (sim, receiver) = start().await;
    let delay = json!({ "replays": { "delay_ms": 2000 } });
    settings(&sim, &delay).await;
    miss(&sim.sim, 4);
    let begun = std::time::Instant::now();
    let (_, started) = replay(&sim, &json!({ "limit": 3, "offset": 1 })).await;
    let (_, second) = replay(&sim, &json!({ "offset": 1, "limit": 3 })).await;
    assert_eq!(
        (&second["status"], &second["workflow_id"]),
        (&json!("already_running"), &started["workflow_id"])
    );
    let running = workflow(&sim, &started).await;
    assert_eq!(
        (
            &running["status"],
            &running["result"],
            &running["completed_at"]
        ),
        (&json!("Running"), &json!(null), &json!(null))
    );
    let state = ended(&sim, &started).await;
    assert!(
        begun.elapsed() >= Duration::from_millis(2200),
        "10 a second"
    );
    let documented: Value = serde_json::from_str(REPLAY).unwrap();
    let mut expected = shape(&documented["state"]);
    expected["result"]["failed_events"] = json!([]);
    assert_eq!(shape(&state), expected);
    assert_eq!(receiver.types(), ["peer.join.success"; 3]);
    let (_, third) = replay(&sim, &json!({ "limit": 3, "offset": 1 })).await;
    assert_eq!(third["status"], "started", "the first is over");
    sim.stop().await;
}

#[tokio::test]
async fn events_that_do_not_arrive_are_failures_of_the_replay() {
    let (sim, receiver) = start().await;
    settings(&sim, &json!({ "time_scale": 0.0 })).await;
    miss(&sim.sim, 1);
    receiver.answering(&[200, 500, 500, 500, 500]);
    let (_, started) = replay(&sim, &json!({ "room_id": ROOM })).await;
    let state = ended(&sim, &started).await;
    assert_eq!(state["status"], "completed_with_failures");
    assert_eq!(
        state["progress"],
        json!({ "total": 2, "completed": 1, "failed": 1 })
    );
    let join = receiver.bodies().pop().unwrap()["id"].clone();
    assert_eq!(state["result"]["failed_events"], json!([join]));

    receiver.answering(&[500; 8]);
    let (_, started) = replay(&sim, &json!({ "room_id": ROOM })).await;
    assert_eq!(ended(&sim, &started).await["status"], "failed");
    let (_, started) = replay(&sim, &json!({ "room_id": "elsewhere" })).await;
    let state = ended(&sim, &started).await;
    assert_eq!(
        (&state["status"], &state["progress"]["total"]),
        (&json!("completed"), &json!(0))
    );
    sim.stop().await;
}

#[tokio::test]
async fn a_delivery_that_used_up_its_retries_is_in_the_history() {
    let (sim, receiver) = start().await;
    settings(&sim, &json!({ "time_scale": 0.0 })).await;
    receiver.answering(&[500; 8]);
    sim.sim.join(ROOM, Join::of("p")).unwrap();
    until(|| sim.sim.pending_deliveries() == 0).await;
    let (_, failed) = sim.get("/analytics/webhooks?status=failed").await;
    assert_eq!(failed["pagination"]["total_items"], 2);
    let payload = &failed["events"][1]["payload"];
    assert_eq!(
        (&payload["original_event_name"], &payload["error_reason"]),
        (&json!("session.open.success"), &json!("status 500"))
    );
    sim.stop().await;
}

#[tokio::test]
async fn a_replay_can_take_time_and_end_early() {
    let (sim, receiver) = start().await;
    miss(&sim.sim, 3);
    for (end, status) in [
        ("failed", "failed"),
        ("canceled", "Canceled"),
        ("terminated", "Terminated"),
    ] {
        let before = receiver.count();
        let early = json!({ "delay_ms": 1500, "end": end, "sends": 1 });
        settings(&sim, &json!({ "replays": early })).await;
        let (_, started) = replay(&sim, &json!({})).await;
        assert_eq!(workflow(&sim, &started).await["status"], "Running");
        assert_eq!(receiver.count(), before);
        let state = ended(&sim, &started).await;
        assert_eq!(state["status"], status);
        assert_eq!(
            state["progress"],
            json!({ "total": 4, "completed": 1, "failed": 0 })
        );
        assert_eq!(receiver.count(), before + 1);
    }
    sim.stop().await;
}

#[tokio::test]
async fn the_history_is_paged_and_filtered() {
    let (sim, _receiver) = start().await;
    miss(&sim.sim, 4);
    sim.sim.lose_webhooks();
    sim.sim.join("elsewhere", Join::of("p")).unwrap();
    let (_, second) = sim.get("/analytics/webhooks?limit=3&page=2").await;
    assert_eq!(
        second["pagination"],
        json!({ "current_page": 2, "page_size": 3, "total_pages": 3, "total_items": 7, "has_next": true, "has_prev": true })
    );
    let (_, last) = sim.get("/analytics/webhooks?limit=3&page=3").await;
    assert_eq!(last["events"].as_array().unwrap().len(), 1);
    assert_eq!(last["pagination"]["has_next"], false);
    let (_, room) = sim.get("/analytics/webhooks?room_id=elsewhere").await;
    assert_eq!(room["summary"]["total_events"], 2);
    let two = "event_names=session.open.success&event_names=peer.leave.success";
    let (_, named) = sim.get(&format!("/analytics/webhooks?{two}")).await;
    assert_eq!(named["summary"]["total_events"], 2);

    let (now, hour) = (sim.now(), TimeDelta::hours(1));
    let earlier = format!(
        "start_time={}&end_time={}",
        time(now - hour * 2),
        time(now - hour)
    );
    let (_, none) = sim.get(&format!("/analytics/webhooks?{earlier}")).await;
    assert_eq!(
        (&none["events"], &none["pagination"]["total_pages"]),
        (&json!([]), &json!(0))
    );
    sim.pass(Duration::from_hours(25));
    let (_, today) = sim.get("/analytics/webhooks").await;
    assert_eq!(today["summary"]["total_events"], 0);
    let since = format!("start_time={}", time(now - hour));
    let (_, found) = sim.get(&format!("/analytics/webhooks?{since}")).await;
    assert_eq!(found["summary"]["total_events"], 7);
    sim.stop().await;
}

#[tokio::test]
async fn times_and_numbers_out_of_range_are_refused() {
    let sim = Running::start().await;
    let day = TimeDelta::days(1);
    let (long_ago, recent) = (time(sim.now() - day * 31), time(sim.now() - day * 15));
    for (filters, message) in [
        (
            json!({ "start_time": long_ago, "end_time": recent }),
            "start_time must be within the last 30 days",
        ),
        (
            json!({ "start_time": recent }),
            "end_time must be within 14 days after start_time",
        ),
        (
            json!({ "end_time": recent }),
            "end_time must be within 14 days after start_time",
        ),
        (
            json!({ "event_names": ["role.change.success"] }),
            "event type is not supported",
        ),
        (json!({ "limit": 50_001 }), "limit must be from 1 to 50000"),
        (json!({ "status": "lost" }), "invalid filters"),
        (
            json!(["start_time"]),
            "the body must be an object of filters",
        ),
    ] {
        let (status, refusal) = replay(&sim, &filters).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{filters}");
        assert_eq!(
            (&refusal["code"], &refusal["message"]),
            (&json!(400), &json!(message))
        );
    }
    for query in [
        "limit=0",
        "limit=101",
        "limit=x",
        "page=0",
        "status=lost",
        "start_time=yesterday",
    ] {
        let (status, refusal) = sim.get(&format!("/analytics/webhooks?{query}")).await;
        assert_eq!(
            (status, &refusal["code"]),
            (StatusCode::BAD_REQUEST, &json!(400)),
            "{query}"
        );
    }
    let (status, unknown) = sim.get("/analytics/webhooks/replay/none").await;
    assert_eq!(
        (status, &unknown["message"]),
        (StatusCode::NOT_FOUND, &json!("workflow not found"))
    );
    sim.stop().await;
}

#[tokio::test]
async fn each_call_can_be_refused_in_the_documented_words() {
    let sim = Running::start().await;
    let fault = |fault| {
        sim.sim
            .set_faults([FaultRule::times(Operation::Replay, 1, fault)]);
    };
    for (refusal, code, message) in [
        (Fault::Forbidden, 403, "insufficient permissions"),
        (
            Fault::Status(503),
            503,
            "webhook replay service unavailable",
        ),
        (
            Fault::RateLimit(RateLimit::Message(45)),
            429,
            "rate limit exceeded, retry after 45 seconds",
        ),
    ] {
        fault(refusal);
        let (status, body) = replay(&sim, &json!({})).await;
        assert_eq!((status.as_u16(), &body["message"]), (code, &json!(message)));
    }
    fault(Fault::Hang);
    let hanging = sim
        .rest(Method::POST, "/analytics/webhooks/replay")
        .timeout(Duration::from_millis(200));
    assert!(hanging.send().await.unwrap_err().is_timeout());
    assert_eq!(replay(&sim, &json!({})).await.0, StatusCode::OK);

    let path = format!("{}/v2/analytics/webhooks", sim.base);
    let (status, body) = answer(sim.client.get(path)).await;
    assert_eq!(
        (status, &body["message"]),
        (StatusCode::FORBIDDEN, &json!("insufficient permissions"))
    );
    let rules = json!([
        { "operation": "webhook_events", "fault": { "status": 500 } },
        { "operation": "replay_status", "fault": { "status": 502 } },
    ]);
    sim.control(Method::PUT, "/faults", &rules.to_string())
        .await;
    assert_eq!(sim.get("/analytics/webhooks").await.0, 500);
    assert_eq!(sim.get("/analytics/webhooks/replay/x").await.0, 502);
    sim.stop().await;
}
