//! The control API over HTTP.

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{ROOM, Running};

#[tokio::test]
async fn a_peer_is_led_through_its_life() {
    let sim = Running::start().await;
    let join = r#"{"user_id": "player-7", "name": "player seven", "metadata": "{\"hp\":71}", "peer_id": "p-1", "room_name": "arena-12",
        "tracks": [{"type": "audio", "id": "t-1"}]}"#;
    let (status, peer) = sim
        .control(Method::POST, &format!("/rooms/{ROOM}/peers"), join)
        .await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(
        (&peer["id"], &peer["metadata"]),
        (&json!("p-1"), &json!("{\"hp\":71}"))
    );
    assert_eq!(peer["ghost_until"], json!(null));
    assert_eq!(
        sim.control(Method::POST, &format!("/rooms/{ROOM}/peers"), join)
            .await
            .0,
        StatusCode::CONFLICT
    );

    let peer = format!("/rooms/{ROOM}/peers/p-1");
    let (_, muted) = sim
        .control(
            Method::PATCH,
            &format!("{peer}/tracks/t-1"),
            r#"{"mute": true}"#,
        )
        .await;
    assert_eq!(muted["tracks"]["t-1"]["mute"], true);
    let (_, with_video) = sim
        .control(
            Method::POST,
            &format!("{peer}/tracks"),
            r#"{"type": "video"}"#,
        )
        .await;
    assert_eq!(with_video["tracks"].as_object().unwrap().len(), 2);
    let (_, renamed) = sim
        .control(Method::PATCH, &peer, r#"{"role": "host", "name": "7"}"#)
        .await;
    assert_eq!(
        (&renamed["role"], &renamed["name"]),
        (&json!("host"), &json!("7"))
    );

    let (_, ghost) = sim
        .control(
            Method::POST,
            &format!("{peer}/drop"),
            r#"{"ghost_seconds": 30}"#,
        )
        .await;
    assert!(ghost["ghost_until"].is_string());
    let (_, back) = sim
        .control(Method::POST, &format!("{peer}/reconnect"), "")
        .await;
    assert_eq!(back["ghost_until"], json!(null));
    let (_, state) = sim.control(Method::GET, "/state", "").await;
    assert_eq!(state["rooms"][ROOM]["name"], "arena-12");
    assert_eq!(
        state["rooms"][ROOM]["peers"]["p-1"]["metadata"],
        r#""{\"hp\":71}""#
    );

    assert_eq!(
        sim.control(Method::POST, &format!("{peer}/leave"), "")
            .await
            .0,
        StatusCode::OK
    );
    assert_eq!(
        sim.control(Method::POST, &format!("{peer}/kick"), "")
            .await
            .0,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        sim.control(Method::POST, &format!("/rooms/{ROOM}/end"), "")
            .await
            .0,
        StatusCode::NOT_FOUND
    );
    sim.stop().await;
}

#[tokio::test]
async fn what_is_not_understood_is_refused_with_a_reason() {
    let sim = Running::start().await;
    for (path, body) in [
        (format!("/rooms/{ROOM}/peers"), r#"{"usr_id": "typo"}"#),
        (
            format!("/rooms/{ROOM}/peers/x/drop"),
            r#"{"ghost_seconds": -1}"#,
        ),
        ("/webhooks/replay".to_owned(), "[1]"),
    ] {
        let (status, answer) = sim.control(Method::POST, &path, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}");
        assert!(answer["error"].is_string());
    }
    let (status, answer) = sim.control(Method::POST, "/unknown", "").await;
    assert_eq!(
        (status, &answer["error"]),
        (StatusCode::NOT_FOUND, &json!("no such control call"))
    );
    sim.stop().await;
}

#[tokio::test]
async fn requests_are_logged_as_they_were_sent() {
    let sim = Running::start().await;
    sim.get("/active-rooms/a%2Fb/peers?user_id=x%20y").await;
    sim.get("/elsewhere").await;
    let (_, log) = sim.control(Method::GET, "/requests", "").await;
    assert_eq!(log["total"], 2);
    let first = &log["requests"][0];
    assert_eq!(first["path"], "/v2/active-rooms/a%2Fb/peers");
    assert_eq!(
        (&first["query"], &first["operation"]),
        (&json!("user_id=x%20y"), &json!("peers"))
    );
    assert_eq!(
        (&first["method"], &first["status"]),
        (&json!("GET"), &json!(404))
    );
    assert_eq!(log["requests"][1]["operation"], json!(null));
    sim.control(Method::DELETE, "/requests", "").await;
    assert_eq!(
        sim.control(Method::GET, "/requests", "").await.1,
        json!({ "total": 0, "requests": [] })
    );
    sim.stop().await;
}

#[tokio::test]
async fn memory_is_bounded() {
    let sim = Running::start().await;
    for _ in 0..1100 {
        sim.get("/elsewhere").await;
    }
    let requests = sim.sim.requests();
    assert_eq!(
        (requests.len(), requests[0].number, sim.sim.request_count()),
        (1000, 101, 1100)
    );
    sim.stop().await;
}
