//! The API of watches, and `rejoin watch`.

use insta::assert_json_snapshot;
use reqwest::Method;
use serde_json::{Value, json};

use super::WATCH;
use crate::support::command::rejoin;
use crate::support::world::{Answer, Replica, World};

async fn put(app: &Replica, path: &str, body: Value) -> Answer {
    Answer::to(app.request(Method::PUT, path).json(&body)).await
}

async fn delete(app: &Replica) -> Answer {
    Answer::to(app.request(Method::DELETE, WATCH)).await
}

#[tokio::test]
async fn a_watch_is_begun_changed_and_ended() {
    let (_world, app) = World::with_app().await;
    assert_eq!(app.get(WATCH).await.expect(404).code(), "room-not-watched");
    assert_eq!(delete(&app).await.expect(404).code(), "room-not-watched");
    let begun = Answer::to(app.request(Method::PUT, WATCH))
        .await
        .expect(201);
    assert_json_snapshot!(begun.json(), {".started_at" => "(now)", ".next_look_at" => "(now)"}, @r#"
    {
      "automatic": false,
      "every": "30s",
      "last_look": null,
      "late_seconds": 0,
      "next_look_at": "(now)",
      "requested_by": null,
      "room_id": "627cda81ab4f3b56a077dc33",
      "started_at": "(now)",
      "state": "waiting",
      "until": null
    }
    "#);
    let body = json!({"every": "10s", "until": "2099-03-01T22:00:00Z"});
    let changed = put(&app, WATCH, body).await.expect(200).json();
    assert_eq!(
        [&changed["every"], &changed["until"]],
        ["10s", "2099-03-01T22:00:00.000000Z"]
    );
    let read = app.get(WATCH).await.expect(200).json();
    assert_eq!(
        [&read["every"], &read["room_id"]],
        [&changed["every"], &changed["room_id"]]
    );
    assert_eq!(delete(&app).await.expect(204).text, "");
    app.get(WATCH).await.expect(404);
}

#[tokio::test]
async fn a_bad_watch_is_refused() {
    let (_world, app) = World::with_app().await;
    for (body, detail) in [
        (
            json!({"every": "4s"}),
            "`every` is invalid: it should be a duration from 5s to 1h such as 30s.",
        ),
        (
            json!({"every": "61m"}),
            "`every` is invalid: it should be a duration from 5s to 1h such as 30s.",
        ),
        (
            json!({"every": "often"}),
            "`every` is invalid: it should be a duration from 5s to 1h such as 30s.",
        ),
        (
            json!({"until": "2026-12-01T11:59:59Z"}),
            "`until` is over already.",
        ),
    ] {
        let refused = put(&app, WATCH, body).await.expect(400);
        assert_eq!(refused.json()["detail"], detail);
    }
    put(&app, WATCH, json!({"each": "5s"})).await.expect(400);
    put(&app, WATCH, json!({"every": 30})).await.expect(400);
    for query in ["order=best", "limit=0", "limit=501", "cursor=x", "room=r"] {
        app.get(&format!("/v1/watches?{query}")).await.expect(400);
    }
    app.get(WATCH).await.expect(404);
}

#[tokio::test]
async fn watches_are_listed_by_room_and_by_lateness() {
    let (world, app) = World::with_app().await;
    for room in ["b", "d", "a", "c"] {
        put(&app, &format!("/v1/rooms/{room}/watch"), json!({}))
            .await
            .expect(201);
    }
    sqlx::query("UPDATE watches SET next_look_at = now() - ascii(room_id) * interval '1 minute'")
        .execute(&world.database.pool().await)
        .await
        .unwrap();
    for (order, expected) in [
        ("room", ["a", "b", "c", "d"]),
        ("lateness", ["d", "c", "b", "a"]),
    ] {
        let mut rooms = Vec::new();
        let mut path = format!("/v1/watches?order={order}&limit=3");
        loop {
            let page = app.get(&path).await.expect(200).json();
            rooms.extend(page["watches"].as_array().unwrap().clone());
            let Some(cursor) = page["next_cursor"].as_str() else {
                break;
            };
            path = format!("/v1/watches?order={order}&limit=3&cursor={cursor}");
        }
        let ids: Vec<&Value> = rooms.iter().map(|watch| &watch["room_id"]).collect();
        assert_eq!(ids, expected);
        assert!(rooms.iter().all(|watch| watch["state"] == "late"));
    }
}

#[tokio::test]
async fn the_command_begins_lists_and_ends_watches() {
    let (world, app) = World::with_app().await;
    let database = [("DATABASE_URL", world.database.url())];
    let begun = rejoin(&["watch", "cave", "--every", "10s"], &database)
        .await
        .expect(0);
    let begun: Value = serde_json::from_str(&begun.out).unwrap();
    assert_eq!([&begun["room_id"], &begun["every"]], ["cave", "10s"]);
    app.get("/v1/rooms/cave/watch").await.expect(200);
    rejoin(&["watch", "tower"], &database).await.expect(0);
    let listed = rejoin(&["watch", "--list"], &database).await.expect(0).out;
    let rooms: Vec<Value> = listed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["room_id"].take())
        .collect();
    assert_eq!(rooms, ["cave", "tower"]);
    rejoin(&["watch", "--stop", "cave"], &database)
        .await
        .expect(0);
    let unknown = rejoin(&["watch", "--stop", "cave"], &database)
        .await
        .expect(3);
    assert_eq!(unknown.err, "error: the room is not watched\n");
    rejoin(&["watch"], &database).await.expect(2);
    let late = ["watch", "cave", "--until", "2020-01-01T00:00:00Z"];
    rejoin(&late, &database).await.expect(2);
}
