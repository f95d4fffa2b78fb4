//! The list of sessions.

use std::time::Duration;

use chrono::{DateTime, Utc};
use hms_sim::Join;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::Running;

#[tokio::test]
async fn sessions_are_listed_page_by_page() {
    let sim = Running::start().await;
    for number in 0..23 {
        let room = format!("room-{number}");
        let peer = sim.sim.join(&room, Join::of("player-7")).unwrap();
        if number < 3 {
            sim.sim.leave(&room, &peer.id).unwrap();
        }
    }
    let mut found = Vec::new();
    let mut path = "/sessions?limit=10".to_owned();
    loop {
        let (status, body) = sim.get(&path).await;
        assert_eq!((status, &body["limit"]), (StatusCode::OK, &json!(10)));
        let Some(last) = body["last"].as_str() else {
            assert_eq!(body["data"], json!([]));
            break;
        };
        path = format!("/sessions?limit=10&start={last}");
        found.extend(body["data"].as_array().unwrap().clone());
    }
    assert_eq!(found.len(), 23);
    let (_, active) = sim.get("/sessions?active=true&limit=100").await;
    assert_eq!(active["data"].as_array().unwrap().len(), 20);
    let (_, of_room) = sim.get("/sessions?room_id=room-1").await;
    assert_eq!(of_room["data"][0]["active"], false);
    for limit in ["9", "101"] {
        let (status, _) = sim.get(&format!("/sessions?limit={limit}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
    }
    let (status, body) = sim.get("/active-rooms/room-5/remove-peers").await;
    assert_eq!(
        (status, &body["code"]),
        (StatusCode::METHOD_NOT_ALLOWED, &json!(405))
    );
    sim.stop().await;
}

fn ids(body: &Value) -> Vec<&str> {
    let sessions = body["data"].as_array().unwrap().iter();
    sessions
        .map(|session| session["id"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn sessions_are_filtered_by_their_start_inclusively() {
    let sim = Running::start().await;
    let mut sessions = Vec::new();
    for room in ["a", "b", "c"] {
        let peer = sim.sim.join(room, Join::of("p")).unwrap();
        let (_, body) = sim.get(&format!("/sessions/{}", peer.session_id)).await;
        let at = body["created_at"].as_str().unwrap().to_owned();
        sessions.push((peer.session_id, at));
        sim.pass(Duration::from_secs(1));
    }
    let [(a, _), (b, at), (c, _)] = sessions.try_into().unwrap();
    let (_, after) = sim.get(&format!("/sessions?after={at}")).await;
    assert_eq!(ids(&after), [&c, &b]);
    let (_, before) = sim.get(&format!("/sessions?before={at}")).await;
    assert_eq!(ids(&before), [&b, &a]);
    let (_, both) = sim.get(&format!("/sessions?after={at}&before={at}")).await;
    assert_eq!(ids(&both), [&b]);
    let later = at.parse::<DateTime<Utc>>().unwrap() + Duration::from_nanos(1);
    let later = later.to_rfc3339_opts(chrono::SecondsFormat::Nanos, true);
    let (_, after) = sim.get(&format!("/sessions?after={later}")).await;
    assert_eq!(ids(&after), [&c]);
    sim.stop().await;
}

#[tokio::test]
async fn the_next_page_follows_though_its_start_ended_meanwhile() {
    let sim = Running::start().await;
    let mut peers = Vec::new();
    for number in 0..15 {
        let room = format!("room-{number}");
        peers.push(sim.sim.join(&room, Join::of("p")).unwrap());
    }
    let (_, first) = sim.get("/sessions?active=true&limit=10").await;
    let last = first["last"].as_str().unwrap();
    let ended = peers.iter().find(|peer| peer.session_id == last).unwrap();
    sim.sim.leave(&ended.room_id, &ended.id).unwrap();
    let path = format!("/sessions?active=true&limit=10&start={last}");
    let (_, second) = sim.get(&path).await;
    assert_eq!(ids(&second).len(), 5);
    assert!(ids(&first).iter().all(|id| !ids(&second).contains(id)));
    sim.stop().await;
}

#[tokio::test]
async fn a_query_that_cannot_be_read_is_refused_in_the_documented_shape() {
    let sim = Running::start().await;
    sim.sim.join("a", Join::of("p")).unwrap();
    for path in [
        "/sessions?limit=many",
        "/sessions?active=perhaps",
        "/sessions?after=yesterday",
        "/sessions?start=nowhere",
        "/active-rooms/a/peers?role=x&role=y",
    ] {
        let (status, body) = sim.get(path).await;
        assert_eq!(
            (status, &body["code"], &body["message"]),
            (StatusCode::BAD_REQUEST, &json!(400), &json!("Bad request")),
            "{path}"
        );
        assert!(body["details"][0].is_string());
    }
    sim.stop().await;
}
