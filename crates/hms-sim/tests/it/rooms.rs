//! The rooms themselves: created, read, listed, changed and disabled, with webhooks of their own.

use std::time::Duration;

use hms_sim::{Join, SimError};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::webhooks::{Receiver, start};
use super::{ROOM, Running, answer, shape, until};

/// The samples of 100ms's pages, without what the simulator leaves out.
const SAMPLES: &str = include_str!("payloads/rooms.json");

fn sample(name: &str) -> Value {
    let samples: Value = serde_json::from_str(SAMPLES).unwrap();
    shape(&samples[name])
}

async fn post(sim: &Running, path: &str, body: &Value) -> (StatusCode, Value) {
    answer(sim.rest(Method::POST, path).body(body.to_string())).await
}

async fn created(sim: &Running, body: &Value) -> String {
    let (status, room) = post(sim, "/rooms", body).await;
    assert_eq!(status, StatusCode::OK, "{room}");
    room["id"].as_str().unwrap().to_owned()
}

fn names(page: &Value) -> Vec<&str> {
    let rooms = page["data"].as_array().unwrap().iter();
    rooms.map(|room| room["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_room_is_created_read_changed_and_listed_in_the_documented_shapes() {
    let sim = Running::start().await;
    let body = json!({ "name": "arena-12", "description": "d", "region": "auto",
        "recording_info": { "enabled": false }, "polls": ["631b2654f771854d9bf633dd"] });
    let (status, room) = post(&sim, "/rooms", &body).await;
    assert_eq!((status, shape(&room)), (StatusCode::OK, sample("create")));
    assert_eq!(room["region"], "us");
    let path = format!("/rooms/{}", room["id"].as_str().unwrap());
    let (status, read) = sim.get(&path).await;
    assert_eq!((status, shape(&read)), (StatusCode::OK, sample("retrieve")));
    let change = json!({ "description": "new", "max_duration_seconds": 10000 });
    let (status, changed) = post(&sim, &path, &change).await;
    assert_eq!(
        (status, shape(&changed)),
        (StatusCode::OK, sample("update"))
    );
    assert_eq!(
        (&changed["name"], &changed["description"]),
        (&json!("arena-12"), &json!("new"))
    );
    let (_, page) = sim.get("/rooms").await;
    assert_eq!(shape(&page), sample("list"));
    assert_eq!(page["last"], room["id"]);
    sim.stop().await;
}

#[tokio::test]
async fn a_name_names_one_room() {
    let sim = Running::start().await;
    let first = created(&sim, &json!({ "name": "Arena" })).await;
    let again = json!({ "name": "arena", "description": "changed", "template_id": "other" });
    assert_eq!(created(&sim, &again).await, first);
    let (_, room) = sim.get(&format!("/rooms/{first}")).await;
    assert_eq!(
        (&room["description"], &room["template_id"]),
        (&json!("changed"), &json!("other"))
    );
    let second = created(&sim, &json!({})).await;
    assert_ne!(second, first);
    let taken = json!({ "name": "ARENA", "description": "mine" });
    let (_, room) = post(&sim, &format!("/rooms/{second}"), &taken).await;
    assert_eq!(
        (&room["id"], &room["description"]),
        (&json!(first), &json!("changed"))
    );
    let (_, page) = sim.get("/rooms?name=ARENA").await;
    assert_eq!(names(&page), ["arena"]);
    let (_, page) = sim.get("/rooms?name=nowhere").await;
    assert_eq!(page["data"], json!([]));
    sim.stop().await;
}

#[tokio::test]
async fn rooms_are_listed_page_by_page_and_filtered() {
    let sim = Running::start().await;
    for number in 0..23 {
        let body = json!({ "name": format!("r{number}"), "enabled": number != 5 });
        created(&sim, &body).await;
        sim.pass(Duration::from_secs(1));
    }
    let mut found = Vec::new();
    let mut path = "/rooms?limit=10".to_owned();
    loop {
        let (_, page) = sim.get(&path).await;
        let Some(last) = page["last"].as_str() else {
            break;
        };
        path = format!("/rooms?limit=10&start={last}");
        found.extend(names(&page).into_iter().map(ToOwned::to_owned));
    }
    assert_eq!((found.len(), found[0].as_str()), (22, "r22"));
    let (_, disabled) = sim.get("/rooms?enabled=false").await;
    assert_eq!(names(&disabled), ["r5"]);
    let at = disabled["data"][0]["created_at"].as_str().unwrap();
    let both = format!("/rooms?enabled=false&after={at}&before={at}");
    assert_eq!(names(&sim.get(&both).await.1), ["r5"]);
    let (_, before) = sim.get(&format!("/rooms?before={at}")).await;
    assert_eq!(names(&before), ["r4", "r3", "r2", "r1", "r0"]);
    for query in [
        "limit=9",
        "limit=101",
        "limit=x",
        "enabled=2",
        "start=nowhere",
    ] {
        let (status, body) = sim.get(&format!("/rooms?{query}")).await;
        assert_eq!(
            (status, &body["code"]),
            (StatusCode::BAD_REQUEST, &json!(400))
        );
    }
    sim.stop().await;
}

#[tokio::test]
async fn what_a_room_cannot_be_is_refused_in_the_documented_words() {
    let sim = Running::start().await;
    let id = created(&sim, &json!({})).await;
    for (body, message) in [
        (
            json!({ "template": "t" }),
            "Invalid body param: template. Use template_id",
        ),
        (json!({ "region": "mars" }), "Error: region not supported"),
        (
            json!({ "max_duration_seconds": 119 }),
            "Invalid body param: max_duration_seconds less than 120 seconds",
        ),
        (
            json!({ "max_duration_seconds": 43_201 }),
            "Invalid body param: max_duration_seconds greater than 43200 seconds",
        ),
        (json!({ "name": "a b" }), "Invalid body param: name"),
        (json!({ "size": 2501 }), "Invalid body param: size"),
        (
            json!({ "webhook": { "url": "nowhere" } }),
            "Invalid body param: webhook",
        ),
        (json!([]), "Invalid body: it must be an object"),
    ] {
        for path in ["/rooms".to_owned(), format!("/rooms/{id}")] {
            let (status, refusal) = post(&sim, &path, &body).await;
            assert_eq!(
                (status, &refusal["message"]),
                (StatusCode::BAD_REQUEST, &json!(message)),
                "{body}"
            );
        }
    }
    let large = json!({ "large_room": true, "size": 20_000 });
    assert_eq!(post(&sim, "/rooms", &large).await.0, StatusCode::OK);
    assert_eq!(sim.get("/rooms/nowhere").await.0, StatusCode::NOT_FOUND);
    let (status, _) = post(&sim, "/rooms/nowhere", &json!({})).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    for (method, path) in [
        (Method::DELETE, "/rooms"),
        (Method::PUT, "/rooms/any"),
        (Method::POST, "/sessions"),
        (Method::DELETE, "/active-rooms/any"),
        (Method::GET, "/analytics/webhooks/replay"),
    ] {
        let (status, body) = answer(sim.rest(method, path)).await;
        assert_eq!(
            (status, &body["code"]),
            (StatusCode::METHOD_NOT_ALLOWED, &json!(405)),
            "{path}"
        );
    }
    sim.stop().await;
}

#[tokio::test]
async fn a_disabled_or_locked_room_lets_nobody_in() {
    let sim = Running::start().await;
    let id = created(&sim, &json!({ "name": "arena-12", "template_id": "mine" })).await;
    let path = format!("/rooms/{id}");
    let join = || sim.sim.join(&id, Join::of("p"));
    join().unwrap();
    let (_, room) = sim.get(&format!("/active-rooms/{id}")).await;
    assert_eq!(room["name"], "arena-12");
    let (_, disabled) = post(&sim, &path, &json!({ "enabled": false })).await;
    assert_eq!(disabled["enabled"], false);
    assert_eq!(join().unwrap_err(), SimError::RoomDisabled);
    let (status, _) = sim.get(&format!("/active-rooms/{id}")).await;
    assert_eq!(status, StatusCode::OK, "the session goes on");
    post(&sim, &path, &json!({ "enabled": true })).await;
    join().unwrap();

    let lock = json!({ "lock": true });
    let end = format!("/active-rooms/{id}/end-room");
    assert_eq!(post(&sim, &end, &lock).await.0, StatusCode::OK);
    let joining = format!("/rooms/{id}/peers");
    let (status, _) = sim.control(Method::POST, &joining, "{}").await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(sim.get(&path).await.1["enabled"], false);
    post(&sim, &path, &json!({ "enabled": true })).await;
    join().unwrap();
    sim.stop().await;
}

#[tokio::test]
async fn a_room_that_was_joined_exists() {
    let sim = Running::start().await;
    let join = Join {
        room_name: Some("arena-12".into()),
        ..Join::of("p")
    };
    let peer = sim.sim.join(ROOM, join).unwrap();
    sim.sim.leave(ROOM, &peer.id).unwrap();
    let (_, room) = sim.get(&format!("/rooms/{ROOM}")).await;
    assert_eq!(
        (&room["id"], &room["name"]),
        (&json!(ROOM), &json!("arena-12"))
    );
    sim.stop().await;
}

#[tokio::test]
async fn the_events_of_a_room_with_its_own_webhook_go_there_alone() {
    let (sim, workspace) = start().await;
    let own = Receiver::default();
    let webhook = json!({ "url": own.serve().await, "headers": { "X-One": "1", "x-two": "2" } });
    let id = created(&sim, &json!({ "name": "own", "webhook": webhook })).await;
    let (_, room) = sim.get(&format!("/rooms/{id}")).await;
    assert_eq!(room["webhook"], webhook);
    let peer = sim.sim.join(&id, Join::of("p")).unwrap();
    sim.sim.join(ROOM, Join::of("q")).unwrap();
    until(|| own.count() == 2 && workspace.count() == 2).await;
    let headers = own.got.lock().unwrap()[0].1.clone();
    assert!(headers["x-one"] == "1" && headers["x-two"] == "2");
    assert!(headers.get("x-rejoin-secret").is_none());
    assert!(
        workspace
            .bodies()
            .iter()
            .all(|body| body["data"]["room_id"] == ROOM)
    );

    let (_, history) = sim.get(&format!("/analytics/webhooks?room_id={id}")).await;
    assert_eq!(
        history["events"][0]["payload"]["webhook_url"],
        webhook["url"]
    );
    let again = json!({ "status": "success", "room_id": id });
    post(&sim, "/analytics/webhooks/replay", &again).await;
    until(|| own.count() == 4).await;

    post(&sim, &format!("/rooms/{id}"), &json!({ "webhook": null })).await;
    sim.sim.leave(&id, &peer.id).unwrap();
    until(|| workspace.count() == 4).await;
    assert_eq!(own.count(), 4);
    sim.stop().await;
}

#[tokio::test]
async fn webhooks_name_the_template_of_the_room() {
    let (sim, receiver) = start().await;
    let id = created(&sim, &json!({ "template_id": "66112497abcd52312556c4bb" })).await;
    sim.sim.join(&id, Join::of("p")).unwrap();
    until(|| receiver.count() == 2).await;
    assert_eq!(
        receiver.bodies()[1]["data"]["template_id"],
        "66112497abcd52312556c4bb"
    );
    sim.stop().await;
}
