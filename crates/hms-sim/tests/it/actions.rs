//! What a server does to an active room.

use hms_sim::Join;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::webhooks::{Receiver, start};
use super::{ROOM, Running, answer, until};

async fn act(sim: &Running, action: &str, body: &Value) -> (StatusCode, Value) {
    let path = format!("/active-rooms/{ROOM}/{action}");
    answer(sim.rest(Method::POST, &path).body(body.to_string())).await
}

fn join(sim: &Running, role: &str) -> String {
    let join = Join {
        role: Some(role.to_owned()),
        ..Join::of("p")
    };
    sim.sim.join(ROOM, join).unwrap().id
}

fn done(message: &str) -> (StatusCode, Value) {
    (StatusCode::OK, json!({ "message": message }))
}

async fn events(sim: &Running, receiver: &Receiver, kind: &str) -> Vec<Value> {
    until(|| sim.sim.pending_deliveries() == 0).await;
    let mut bodies = receiver.bodies();
    bodies.retain(|body| body["type"] == kind);
    bodies
}

#[tokio::test]
async fn peers_are_removed_by_id_or_by_role() {
    let (sim, receiver) = start().await;
    let (host, first) = (join(&sim, "host"), join(&sim, "player"));
    let (second, third) = (join(&sim, "player"), join(&sim, "spectator"));
    let submitted = done("peer remove request submitted");
    let both = json!({ "peer_id": host, "role": "player", "reason": "be nice" });
    assert_eq!(act(&sim, "remove-peers", &both).await, submitted);
    let (_, room) = sim.get(&format!("/active-rooms/{ROOM}")).await;
    assert_eq!(room["session"]["peers"].as_array().unwrap().len(), 3);

    let role = json!({ "peer_id": "", "role": "player", "reason": "full" });
    assert_eq!(act(&sim, "remove-peers", &role).await, submitted);
    let (_, room) = sim.get(&format!("/active-rooms/{ROOM}")).await;
    assert_eq!(room["session"]["peers"], json!([third]));
    let nobody = json!({ "role": "player" });
    assert_eq!(act(&sim, "remove-peers", &nobody).await, submitted);

    let left = events(&sim, &receiver, "peer.leave.success").await;
    let mut reasons: Vec<_> = left
        .iter()
        .map(|body| &body["data"])
        .map(|data| (&data["peer_id"], &data["reason"], &data["message"]))
        .collect();
    let (kicked, full) = (json!("peer kicked"), json!("full"));
    assert_eq!(
        reasons.remove(0),
        (&json!(host), &kicked, &json!("be nice"))
    );
    reasons.sort_by_key(|reason| reason.0.to_string());
    let mut ids = [json!(first), json!(second)];
    ids.sort_by_key(ToString::to_string);
    assert_eq!(
        reasons,
        [(&ids[0], &kicked, &full), (&ids[1], &kicked, &full)]
    );
    sim.stop().await;
}

#[tokio::test]
async fn a_room_ends_with_its_reason() {
    let (sim, receiver) = start().await;
    join(&sim, "player");
    let ending = json!({ "reason": "Class has ended" });
    assert_eq!(
        act(&sim, "end-room", &ending).await,
        done("session is ending")
    );
    assert_eq!(
        act(&sim, "end-room", &ending).await.0,
        StatusCode::NOT_FOUND
    );
    let ended = events(&sim, &receiver, "room.end.success").await;
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0]["data"]["reason"], "Class has ended");
    sim.stop().await;
}

#[tokio::test]
async fn messages_are_taken_while_the_room_is_active() {
    let sim = Running::start().await;
    let message = json!({ "message": "hi", "type": "chat", "role": "" });
    assert_eq!(
        act(&sim, "send-message", &message).await.0,
        StatusCode::NOT_FOUND
    );
    join(&sim, "player");
    assert_eq!(
        act(&sim, "send-message", &message).await,
        done("message sent")
    );
    sim.stop().await;
}

#[tokio::test]
async fn bodies_that_cannot_be_read_are_refused() {
    let sim = Running::start().await;
    join(&sim, "player");
    for (action, body) in [
        ("remove-peers", json!({})),
        ("remove-peers", json!({ "peer_id": "", "role": "" })),
        ("remove-peers", json!({ "peer_id": 7 })),
        ("end-room", json!([])),
        ("end-room", json!({ "reason": 7 })),
        ("send-message", json!({})),
        ("send-message", json!({ "message": 7 })),
    ] {
        let (status, refusal) = act(&sim, action, &body).await;
        assert_eq!(
            (status, &refusal["code"]),
            (StatusCode::BAD_REQUEST, &json!(400)),
            "{action} {body}"
        );
    }
    let (status, _) = sim.get(&format!("/active-rooms/{ROOM}")).await;
    assert_eq!(status, StatusCode::OK, "nothing happened");
    sim.stop().await;
}
