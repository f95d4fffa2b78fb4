//! The payloads of the events of sessions, rooms and roles, compared with 100ms's samples. Those of
//! joins and leaves are compared in `webhooks`.

use hms_sim::Join;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::webhooks::start;
use super::{ROOM, answer, shape, until};

/// The samples of 100ms's page of webhook events, and the `type` that every peer event has.
const SAMPLES: &str = include_str!("payloads/webhook-others.json");

#[tokio::test]
async fn what_a_peer_did_has_the_fields_of_the_samples() {
    let (sim, receiver) = start().await;
    let peer = sim.sim.join(ROOM, Join::of("host")).unwrap().id;
    let promotion = json!({ "role": "judge", "requested_by": peer }).to_string();
    let path = format!("/rooms/{ROOM}/peers/{peer}");
    sim.control(Method::PATCH, &path, &promotion).await;
    let ending = json!({ "reason": "over", "lock": true, "by": peer }).to_string();
    let path = format!("/rooms/{ROOM}/end");
    let (status, _) = sim.control(Method::POST, &path, &ending).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    until(|| sim.sim.pending_deliveries() == 0).await;
    let samples: Value = serde_json::from_str(SAMPLES).unwrap();
    let mut compared = 0;
    for body in receiver.bodies() {
        let kind = body["type"].as_str().unwrap();
        if let Some(sample) = samples.get(kind) {
            assert_eq!(shape(&body), shape(sample), "{kind}");
            compared += 1;
        }
        match kind {
            "role.change.success" => assert_eq!(body["data"]["role_change_requested_by"], peer),
            "room.end.success" => assert_eq!(
                (
                    &body["data"]["source"],
                    &body["data"]["peer_id"],
                    &body["data"]["lock_room"]
                ),
                (&json!("peer"), &json!(peer), &json!(true))
            ),
            _ => {}
        }
    }
    assert_eq!(compared, 4);
    sim.stop().await;
}

#[tokio::test]
async fn what_the_rest_api_did_names_no_peer() {
    let (sim, receiver) = start().await;
    let peer = sim.sim.join(ROOM, Join::of("host")).unwrap().id;
    let post = async |path: &str, body: &Value| {
        let request = sim.rest(Method::POST, path).body(body.to_string());
        let (status, _) = answer(request).await;
        assert_eq!(status, StatusCode::OK, "{path}");
    };
    let promotion = json!({ "role": "judge", "requested_by": peer });
    post(&format!("/active-rooms/{ROOM}/peers/{peer}"), &promotion).await;
    let ending = json!({ "reason": "over" });
    post(&format!("/active-rooms/{ROOM}/end-room"), &ending).await;
    until(|| sim.sim.pending_deliveries() == 0).await;
    let of_kind = |kind: &str| {
        let bodies = receiver.bodies();
        let body = bodies.into_iter().find(|body| body["type"] == kind);
        body.unwrap()["data"].clone()
    };
    let change = of_kind("role.change.success");
    assert_eq!(change["role"], "judge");
    assert_eq!(change.get("role_change_requested_by"), None);
    let end = of_kind("room.end.success");
    assert_eq!(
        (&end["reason"], &end["lock_room"]),
        (&json!("over"), &json!(false))
    );
    for field in ["source", "peer_id", "user_id", "user_name", "role"] {
        assert_eq!(end.get(field), None, "{field}");
    }
    sim.stop().await;
}

#[tokio::test]
async fn only_a_peer_of_the_room_can_end_it() {
    let (sim, _receiver) = start().await;
    sim.sim.join(ROOM, Join::of("host")).unwrap();
    let path = format!("/rooms/{ROOM}/end");
    let (status, _) = sim
        .control(Method::POST, &path, r#"{"by": "nobody"}"#)
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(sim.get(&format!("/active-rooms/{ROOM}")).await.0, 200);
    sim.stop().await;
}
