//! Resume: the body, conditional requests and the filters.

use std::time::Duration;

use insta::{assert_json_snapshot, assert_snapshot};
use reqwest::Method;

use crate::support::world::{Answer, ROOM, Replica, World};

#[tokio::test]
async fn resume_gives_the_saved_state_and_never_asks_100ms() {
    let (world, app) = World::with_app().await;
    world.join("player-7", "peer-1", r#"{"b": 1, "a": 2, "b": 3}"#);
    app.snapshot("peer-1").await.expect(201);
    world.clock.advance(Duration::from_secs(30));
    app.snapshot("peer-1").await.expect(200);
    world.clock.advance(Duration::from_millis(61_999));

    world.sim.clear_requests();
    let resumed = app.resume("player-7").await.expect(200);
    assert_eq!(resumed.header("content-type"), "application/json");
    // The text, since the order of keys and their repetition count.
    assert_snapshot!(resumed.text.replace(",\"", ",\n\""), @r#"
    {"user_id":"player-7",
    "room_id":"627cda81ab4f3b56a077dc33",
    "peer_id":"peer-1",
    "name":"player-7",
    "role":"player",
    "metadata":{"b": 1, "a": 2, "b": 3},
    "metadata_raw":"{\"b\": 1, \"a\": 2, \"b\": 3}",
    "joined_at":"2026-12-01T12:00:00.000000Z",
    "changed_at":"2026-12-01T12:00:00.000000Z",
    "last_observed_at":"2026-12-01T12:00:30.000000Z",
    "age_seconds":61,
    "snapshot_id":"01a23179-de00-7cbd-8ef0-1974a219aeff",
    "presence":{"status":"unknown",
    "reason":null,
    "since":null},
    "connected_peers":[]}
    "#);
    assert_eq!(world.sim.request_count(), 0);

    let snapshot = app.history("player-7").await.expect(200).json()["snapshots"][0].clone();
    assert_eq!(resumed.json()["snapshot_id"], snapshot["id"]);
}

async fn conditional(app: &Replica, etags: &[&str]) -> Answer {
    let request = app.request(Method::GET, "/v1/users/player-7/resume");
    Answer::to(etags.iter().fold(request, |request, etag| {
        request.header("if-none-match", *etag)
    }))
    .await
}

#[tokio::test]
async fn a_known_state_is_not_sent_again() {
    let (world, app) = World::with_app().await;
    world.join("player-7", "peer-1", "one");
    app.snapshot("peer-1").await.expect(201);
    let first = app.resume("player-7").await.expect(200);
    let etag = first.header("etag").to_owned();
    let strong = etag.trim_start_matches("W/").to_owned();
    assert!(
        strong.len() > 2 && strong.starts_with('"') && strong.ends_with('"'),
        "{etag}"
    );
    assert!(first.header("cache-control").contains("no-cache"));

    // Observed again: the same state, though its age differs.
    world.clock.advance(Duration::from_secs(5));
    app.snapshot("peer-1").await.expect(200);
    let list = format!("\"x\", W/\"y,z\" ,{strong}");
    for known in [
        vec![etag.as_str()],
        vec![&strong],
        vec![&list],
        vec!["*"],
        vec!["\"other\"", &etag],
    ] {
        let answer = conditional(&app, &known).await.expect(304);
        assert_eq!(
            (answer.text.as_str(), answer.header("etag")),
            ("", etag.as_str()),
            "{known:?}"
        );
    }
    for unknown in [
        vec!["\"other\""],
        vec!["W/\"other\""],
        vec![""],
        vec![strong.trim_matches('"')],
    ] {
        assert_eq!(
            conditional(&app, &unknown).await.expect(200).header("etag"),
            etag,
            "{unknown:?}"
        );
    }

    world.set("peer-1", "two");
    app.snapshot("peer-1").await.expect(201);
    let changed = conditional(&app, &[&etag]).await.expect(200);
    assert_ne!(changed.header("etag"), etag);
    assert_eq!(changed.json()["metadata_raw"], "two");

    // A failure is no state that anyone could know.
    world.set("peer-1", "");
    app.snapshot("peer-1").await.expect(201);
    assert_eq!(
        conditional(&app, &["*"]).await.expect(404).code(),
        "no-saved-metadata"
    );
}

#[tokio::test]
async fn the_filters_choose_among_the_peers() {
    let (world, app) = World::with_app().await;
    world.join("player-7", "peer-1", "in the cave");
    app.snapshot("peer-1").await.expect(201);
    world.clock.advance(Duration::from_secs(1));
    world.join_in("tower", "player-7", "peer/2", "in the tower");
    app.post("/v1/rooms/tower/snapshots").await.expect(200);

    let cases = [
        (String::new(), Some("in the tower")),
        (format!("?room_id={ROOM}"), Some("in the cave")),
        ("?room_id=tower".into(), Some("in the tower")),
        ("?room_id=elsewhere".into(), None),
        ("?exclude_peer_id=peer%2F2".into(), Some("in the cave")),
        ("?exclude_peer_id=peer-1".into(), Some("in the tower")),
        ("?exclude_peer_id=another".into(), Some("in the tower")),
        ("?room_id=tower&exclude_peer_id=peer%2F2".into(), None),
        (
            "?room_id=tower&exclude_peer_id=peer-1&max_age=0".into(),
            Some("in the tower"),
        ),
    ];
    for (query, expected) in cases {
        let answer = app.get(&format!("/v1/users/player-7/resume{query}")).await;
        match expected {
            Some(metadata) => assert_eq!(
                answer.expect(200).json()["metadata_raw"],
                metadata,
                "{query}"
            ),
            None => assert_eq!(answer.expect(404).code(), "no-saved-metadata", "{query}"),
        }
    }
    assert_eq!(
        app.resume("player-8").await.expect(404).code(),
        "no-saved-metadata"
    );
}

#[tokio::test]
async fn a_state_can_be_too_old() {
    let (world, app) = World::with_app().await;
    world.join("player-7", "peer-1", "x");
    app.snapshot("peer-1").await.expect(201);
    world.clock.advance(Duration::from_mins(1));
    let aged = app
        .get("/v1/users/player-7/resume?max_age=60")
        .await
        .expect(200)
        .json();
    assert_eq!(aged["age_seconds"], 60);
    world.clock.advance(Duration::from_millis(1));
    let old = app
        .get("/v1/users/player-7/resume?max_age=60")
        .await
        .expect(404);
    assert_json_snapshot!(old.json(), {".request_id" => "(random)"}, @r#"
    {
      "code": "saved-metadata-too-old",
      "detail": "The saved metadata was last observed 60.001 seconds ago, and max_age is 60.",
      "request_id": "(random)",
      "status": 404,
      "title": "The saved metadata is too old",
      "type": "about:blank"
    }
    "#);
    app.get("/v1/users/player-7/resume?max_age=61")
        .await
        .expect(200);
    app.get("/v1/users/player-7/resume?max_age=18446744073709551615")
        .await
        .expect(200);

    // Observed again unchanged: fresh again.
    app.snapshot("peer-1").await.expect(200);
    app.get("/v1/users/player-7/resume?max_age=0")
        .await
        .expect(200);
    // A clock that runs behind the one that dated the observation makes no negative age.
    world.clock.rewind(chrono::TimeDelta::seconds(10));
    assert_eq!(
        app.resume("player-7").await.expect(200).json()["age_seconds"],
        0
    );
}
