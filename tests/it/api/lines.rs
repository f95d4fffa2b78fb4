//! The snapshot of a room in lines, each sent once its peer is saved.

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::support::world::{ROOM, Replica, World};

async fn ask(app: &Replica, accept: &str) -> Response {
    let path = format!("/v1/rooms/{ROOM}/snapshots");
    let request = app.request(Method::POST, &path).header(ACCEPT, accept);
    request.send().await.unwrap()
}

async fn lines(app: &Replica) -> Vec<Value> {
    let answer = ask(app, "application/json;q=0.5, application/x-ndjson").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()[CONTENT_TYPE], "application/x-ndjson");
    let text = answer.text().await.unwrap();
    assert!(text.ends_with('\n'));
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().unwrap()
}

#[tokio::test]
async fn each_peer_of_a_room_has_a_line() {
    let (world, app) = World::with_app().await;
    // More than are saved at once.
    for peer in 0..2_500 {
        let name = format!("p{peer}");
        world.join(&name, &name, "hp 71");
    }
    world.join("", "without-user", "x");
    let mut lines = lines(&app).await;
    let (first, last) = (lines.remove(0), lines.pop().unwrap());
    let room = json!({
        "room_id": ROOM, "observed_at": "2026-12-01T12:00:00.000000Z", "peers": 2_501
    });
    assert_eq!(first, json!({ "room": room }));
    assert_eq!(last, json!({"end": {"saved": 2_500, "skipped": 1}}));
    let (saved, skipped): (Vec<Value>, Vec<Value>) = lines
        .into_iter()
        .partition(|line| line["skipped"].is_null());
    assert_eq!(skipped.len(), 1);
    assert_eq!(skipped[0]["skipped"]["code"], "peer-without-user-id");
    let whole = app.snapshot_room().await.expect(200).json();
    let mut expected = whole["snapshots"].as_array().unwrap().clone();
    let mut saved: Vec<Value> = saved
        .into_iter()
        .map(|mut line| line["snapshot"].take())
        .collect();
    for snapshots in [&mut expected, &mut saved] {
        snapshots.sort_by_key(|snapshot| snapshot["peer_id"].to_string());
    }
    assert_eq!(saved.len(), 2_500);
    assert!(saved == expected, "{} and {}", saved[0], expected[0]);
}

#[tokio::test]
async fn a_room_that_is_not_active_is_a_problem_and_so_is_a_type_that_is_not_asked_for() {
    let (world, app) = World::with_app().await;
    let answer = ask(&app, "application/x-ndjson").await;
    assert_eq!(answer.status(), 404);
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["code"], "room-not-active");
    world.join("player-7", "p", "hp 71");
    for accept in [
        "*/*",
        "application/json",
        "text/x-ndjson",
        "application/x-ndjson;q=0",
        "application/x-ndjson; Q=0.000",
        "application/json, application/x-ndjson;q=0.1",
        "application/x-ndjson;q=0.1, application/*",
        "*/*, application/x-ndjson;q=0.9",
    ] {
        let answer = ask(&app, accept).await;
        assert_eq!(
            answer.headers()[CONTENT_TYPE],
            "application/json",
            "{accept}"
        );
    }
    for accept in [
        "Application/X-NDJSON",
        "application/json, application/x-ndjson",
        "*/*;q=0.1, application/x-ndjson;charset=utf-8;q=0.2",
        "application/x-ndjson;q=odd",
    ] {
        let answer = ask(&app, accept).await;
        assert_eq!(
            answer.headers()[CONTENT_TYPE],
            "application/x-ndjson",
            "{accept}"
        );
    }
}

#[tokio::test]
async fn what_fails_on_the_way_is_the_last_line() {
    let (world, app) = World::with_app().await;
    world.join("player-7", "p", "hp 71");
    let pool = world.database.pool().await;
    let mut lock = pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE peers IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *lock)
        .await
        .unwrap();
    let lines = lines(&app).await;
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0]["room"]["peers"], 1);
    assert_eq!(lines[1]["problem"]["code"], "database-unavailable");
}
