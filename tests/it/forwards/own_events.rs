//! rejoin's own events: what they say, when there are none, and their order.

use std::time::Duration;

use insta::{assert_json_snapshot, assert_snapshot};
use rejoin::config::{EventArgs, ForwardArgs, RestoreArgs, WatchArgs};
use serde_json::{Value, json};

use super::{Endpoint, count, until_none_waits};
use crate::support::webhooks::{join_event, leave_event, send_event};
use crate::support::world::{ROOM, Replica, Setup, World};

const DROP: &str = "websocket closed";

/// Replicas that queue their own events, with the metadata or without, and take webhooks.
fn with_events(endpoint: &Endpoint, with_metadata: bool) -> Setup {
    Setup {
        forwards: ForwardArgs::to(&endpoint.url),
        events: EventArgs::on(with_metadata),
        ..Setup::with_webhooks()
    }
}

async fn world(with_metadata: bool) -> (World, Endpoint, Replica) {
    let world = World::new().await;
    let endpoint = Endpoint::new().await;
    let app = world.replica(with_events(&endpoint, with_metadata)).await;
    (world, endpoint, app)
}

/// All that the endpoint accepted, in order, once nothing waits any more.
async fn accepted(world: &World, endpoint: &Endpoint) -> Vec<Value> {
    until_none_waits(&world.database.pool().await).await;
    let accepted = endpoint.accepted().into_iter();
    accepted
        .map(|received| serde_json::from_str(&received.body).unwrap())
        .collect()
}

/// The types of all that the endpoint accepted, in order.
async fn types(world: &World, endpoint: &Endpoint) -> Vec<String> {
    let events = accepted(world, endpoint).await;
    let types = events.iter().map(|event| event["type"].as_str().unwrap());
    types.map(ToOwned::to_owned).collect()
}

/// Our own events among those.
async fn own(world: &World, endpoint: &Endpoint) -> Vec<Value> {
    let events = accepted(world, endpoint).await.into_iter();
    events
        .filter(|event| event["type"].as_str().unwrap().starts_with("rejoin."))
        .collect()
}

/// The peer, the exact metadata, and the time of each `rejoin.state.saved`.
async fn saved(world: &World, endpoint: &Endpoint) -> Vec<Value> {
    let events = own(world, endpoint).await.into_iter();
    events
        .filter(|event| event["type"] == "rejoin.state.saved")
        .map(|event| {
            let data = &event["data"];
            json!([data["peer_id"], data["metadata_raw"], event["timestamp"]])
        })
        .collect()
}

/// A restore to this peer, claimed by `server-1`.
fn claim_and_restore(peer: &str) -> Value {
    json!({"room_id": ROOM, "peer_id": peer, "claimed_by": "server-1"})
}

#[tokio::test]
async fn each_event_says_what_happened_after_the_event_that_reported_it() {
    let (world, endpoint, app) = world(false).await;
    world.join("player-7", "old", "hp 71");
    send_event(&app, &join_event("old", 0, "hp 71"))
        .await
        .expect(200);
    let leave = leave_event("old", 0, 9, DROP, "hp 72");
    send_event(&app, &leave).await.expect(200);
    world.clock.advance(Duration::from_secs(12));
    world.sim.leave(ROOM, "old").unwrap();
    world.join("player-7", "new", "");
    let restored = app
        .post_json("/v1/users/player-7/resume", &claim_and_restore("new"))
        .await
        .expect(200);
    let resumed = app.resume("player-7").await.json();
    assert_eq!(resumed["peer_id"], "new");
    let events = accepted(&world, &endpoint).await;
    let types: Vec<&str> = events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        types,
        [
            "peer.join.success",
            "rejoin.state.saved",
            "peer.leave.success",
            "rejoin.peer.dropped",
            "rejoin.state.saved",
            "rejoin.state.claimed",
            "rejoin.state.restored",
        ]
    );
    let snapshot_id = &restored.json()["snapshot_id"];
    for event in &events[3..] {
        assert_eq!(event["data"]["snapshot_id"], *snapshot_id, "{event}");
        if event["type"] != "peer.leave.success" {
            assert!(event["data"].get("metadata").is_none(), "{event}");
            assert!(event["data"].get("metadata_raw").is_none(), "{event}");
        }
    }
    let bodies = endpoint.accepted().into_iter().skip(3);
    let bodies = bodies.map(|received| received.body.replace(&snapshot_id.to_string(), "(id)"));
    assert_snapshot!(bodies.collect::<Vec<_>>().join("\n"), @r#"
    {"type":"rejoin.peer.dropped","timestamp":"2026-12-01T12:00:09.000000Z","data":{"user_id":"player-7","room_id":"627cda81ab4f3b56a077dc33","peer_id":"old","joined_at":"2026-12-01T12:00:00.000000Z","dropped_at":"2026-12-01T12:00:09.000000Z","reason":"websocket closed","snapshot_id":(id)}}
    {"type":"rejoin.state.saved","timestamp":"2026-12-01T12:00:00.000000Z","data":{"user_id":"player-7","room_id":"627cda81ab4f3b56a077dc33","peer_id":"old","joined_at":"2026-12-01T12:00:00.000000Z","changed_at":"2026-12-01T12:00:00.000000Z","last_observed_at":"2026-12-01T12:00:09.000000Z","snapshot_id":(id)}}
    {"type":"rejoin.state.claimed","timestamp":"2026-12-01T12:00:12.000000Z","data":{"user_id":"player-7","room_id":"627cda81ab4f3b56a077dc33","peer_id":"old","changed_at":"2026-12-01T12:00:00.000000Z","to_room_id":"627cda81ab4f3b56a077dc33","to_peer_id":"new","claimed_at":"2026-12-01T12:00:12.000000Z","claimed_by":"server-1","snapshot_id":(id)}}
    {"type":"rejoin.state.restored","timestamp":"2026-12-01T12:00:12.000000Z","data":{"user_id":"player-7","room_id":"627cda81ab4f3b56a077dc33","peer_id":"old","changed_at":"2026-12-01T12:00:00.000000Z","to_room_id":"627cda81ab4f3b56a077dc33","to_peer_id":"new","restored_at":"2026-12-01T12:00:12.000000Z","automatic":false,"snapshot_id":(id)}}
    "#);
    for received in &endpoint.accepted()[3..] {
        assert_eq!(received.header("content-type"), Some("application/json"));
        assert!(received.header("webhook-id").is_some());
    }
}

#[tokio::test]
async fn what_is_reported_again_makes_no_event_again() {
    let (world, endpoint, app) = world(true).await;
    let events = [
        join_event("p", 0, "hp 71"),
        leave_event("p", 0, 9, DROP, "hp 72"),
    ];
    for _ in 0..2 {
        for event in &events {
            send_event(&app, event).await.expect(200);
        }
    }
    // The same end at another time, of the other replica.
    let again = leave_event("p", 0, 10, DROP, "hp 72");
    let other = world.replica(with_events(&endpoint, true)).await;
    send_event(&other, &again).await.expect(200);
    for _ in 0..2 {
        let claim = json!({"claimed_by": "server-1"});
        let path = "/v1/users/player-7/resume";
        other.post_json(path, &claim).await.expect(200);
        app.post_json(path, &claim).await.expect(200);
    }
    let types: Vec<Value> = own(&world, &endpoint)
        .await
        .iter()
        .map(|event| event["type"].clone())
        .collect();
    assert_eq!(
        types,
        [
            "rejoin.state.saved",
            "rejoin.peer.dropped",
            "rejoin.state.saved",
            "rejoin.state.claimed"
        ]
    );
}

#[tokio::test]
async fn an_end_that_is_no_drop_makes_no_event() {
    let (world, endpoint, app) = world(false).await;
    for (peer, reason) in [("p", "left"), ("q", "peer kicked")] {
        send_event(&app, &join_event(peer, 0, "")).await.expect(200);
        let leave = leave_event(peer, 0, 9, reason, "");
        send_event(&app, &leave).await.expect(200);
        // Dropped before that, as far as this one knows.
        let drop = leave_event(peer, 0, 8, DROP, "");
        send_event(&app, &drop).await.expect(200);
    }
    assert_eq!(own(&world, &endpoint).await, [] as [Value; 0]);
}

#[tokio::test]
async fn a_state_is_announced_once_however_it_is_saved() {
    let (world, endpoint, app) = world(true).await;
    world.join("player-7", "p", "");
    world.set("p", "a snapshot");
    for _ in 0..2 {
        assert!(app.snapshot("p").await.status.is_success());
    }
    world.set("p", "one of the room");
    for _ in 0..2 {
        app.snapshot_room().await.expect(200);
    }
    send_event(&app, &join_event("q", 5, "a webhook"))
        .await
        .expect(200);
    world.clock.advance(Duration::from_secs(10));
    world.set("p", "a look");
    let watching = Setup {
        watches: WatchArgs::active("5s", "100/s"),
        ..with_events(&endpoint, true)
    };
    let _watching = world.replica(watching).await;
    super::until_within(super::PATIENCE, "the look is saved", async || {
        app.resumed_metadata("player-7").await == "a look"
    })
    .await;
    world.set("p", "");
    app.snapshot("p").await.expect(201);
    assert_json_snapshot!(saved(&world, &endpoint).await, @r#"
    [
      [
        "p",
        "a snapshot",
        "2026-12-01T12:00:01.000000Z"
      ],
      [
        "p",
        "one of the room",
        "2026-12-01T12:00:02.000000Z"
      ],
      [
        "q",
        "a webhook",
        "2026-12-01T12:00:05.000000Z"
      ],
      [
        "p",
        "a look",
        "2026-12-01T12:00:13.000000Z"
      ],
      [
        "p",
        "",
        "2026-12-01T12:00:14.000000Z"
      ]
    ]
    "#);
}

#[tokio::test]
async fn what_does_not_change_what_a_resume_returns_is_not_announced() {
    let (world, endpoint, app) = world(true).await;
    send_event(&app, &join_event("new", 30, "newest"))
        .await
        .expect(200);
    // Late, of another peer and of the same.
    send_event(&app, &join_event("old", 0, "older"))
        .await
        .expect(200);
    let mut late = join_event("new", 20, "late");
    late["type"] = json!("role.change.success");
    late["data"]["role_changed_at"] = json!("2026-12-01T12:00:25Z");
    send_event(&app, &late).await.expect(200);
    // Nothing of its own.
    send_event(&app, &join_event("empty", 40, ""))
        .await
        .expect(200);
    // Another user's.
    let mut other = join_event("other", 50, "another user's");
    other["data"]["user_id"] = json!("player-8");
    send_event(&app, &other).await.expect(200);
    let rows = count(&world.database.pool().await, "snapshots").await;
    assert_eq!(rows, 5, "all of them are saved");
    assert_json_snapshot!(saved(&world, &endpoint).await, @r#"
    [
      [
        "new",
        "newest",
        "2026-12-01T12:00:30.000000Z"
      ],
      [
        "other",
        "another user's",
        "2026-12-01T12:00:50.000000Z"
      ]
    ]
    "#);
}

#[tokio::test]
async fn a_ghost_that_is_dated_back_makes_the_state_behind_it_the_saved_one() {
    for is_known in [true, false] {
        let (world, endpoint, app) = world(true).await;
        let joins = [join_event("a", 0, ""), join_event("b", 30, "of b")];
        for join in joins {
            send_event(&app, &join).await.expect(200);
        }
        world.join("player-7", "a", "of a");
        world.clock.advance(Duration::from_secs(40));
        app.snapshot("a").await.expect(201);
        let pool = world.database.pool().await;
        if !is_known {
            // As if there had been no events until now.
            let sql = "DELETE FROM announced_states";
            sqlx::query(sql).execute(&pool).await.unwrap();
        }
        // It was a ghost since 11:59:50.
        let leave = leave_event("a", 0, 50, DROP, "of a");
        send_event(&app, &leave).await.expect(200);
        assert_eq!(app.resumed_metadata("player-7").await, "of b");
        let saved = saved(&world, &endpoint).await.into_iter();
        let metadata: Vec<Value> = saved.map(|event| event[1].clone()).collect();
        assert_eq!(metadata, ["of b", "of a", "of b"], "{is_known}");
    }
}

#[tokio::test]
async fn metadata_is_there_byte_for_byte_where_it_is_wanted() {
    let (world, endpoint, app) = world(true).await;
    let texts = [
        r#"{"hp":71,"hp":71,"n":1000000000000000000000000000000000000001}"#,
        "no { JSON",
        "\u{1f3ae} caf\u{e9} \u{0}\u{7f}\"\\",
        r#""\ud800""#,
        "  null ",
        "",
    ];
    for (second, text) in (1..).zip(texts) {
        world.clock.advance(Duration::from_secs(1));
        let event = join_event(&format!("p{second}"), second, text);
        send_event(&app, &event).await.expect(200);
    }
    // A clear, of a peer that had some.
    let mut clear = join_event("p5", 5, "");
    clear["type"] = json!("role.change.success");
    clear["data"]["role_changed_at"] = json!("2026-12-01T12:00:09Z");
    send_event(&app, &clear).await.expect(200);
    until_none_waits(&world.database.pool().await).await;
    let bodies: Vec<String> = endpoint
        .accepted()
        .into_iter()
        .map(|received| received.body)
        .filter(|body| body.contains("rejoin.state.saved"))
        .collect();
    let raw: Vec<Value> = bodies
        .iter()
        .map(|body| serde_json::from_str::<Value>(body).unwrap()["data"]["metadata_raw"].clone())
        .collect();
    assert_eq!(raw, texts);
    let is_json_as_it_came = format!("\"metadata\":{},", texts[0]);
    assert!(bodies[0].contains(&is_json_as_it_came), "{}", bodies[0]);
    for (body, metadata) in bodies.iter().zip([None, Some(texts[1]), Some(texts[2])]) {
        let event: Value = serde_json::from_str(body).unwrap();
        if let Some(metadata) = metadata {
            assert_eq!(event["data"]["metadata"], metadata);
        }
    }
    let cleared: Value = serde_json::from_str(&bodies[5]).unwrap();
    assert_eq!(cleared["data"]["metadata"], Value::Null);
}

#[tokio::test]
async fn an_automatic_restore_is_announced_once_and_is_no_new_state() {
    let world = World::new().await;
    let endpoint = Endpoint::new().await;
    let setup = || Setup {
        restores: RestoreArgs::at("dropped"),
        ..with_events(&endpoint, false)
    };
    let replicas = [world.replica(setup()).await, world.replica(setup()).await];
    send_event(&replicas[0], &join_event("old", 0, "hp 71"))
        .await
        .expect(200);
    let leave = leave_event("old", 0, 9, DROP, "hp 71");
    send_event(&replicas[1], &leave).await.expect(200);
    world.clock.advance(Duration::from_secs(10));
    world.join("player-7", "new", "");
    for replica in &replicas {
        let join = join_event("new", 10, "");
        send_event(replica, &join).await.expect(200);
    }
    super::until_within(super::PATIENCE, "it is restored", async || {
        world.metadata_of("new") == "hp 71"
    })
    .await;
    let pool = world.database.pool().await;
    super::until_within(super::PATIENCE, "the job is done", async || {
        count(&pool, "restore_jobs").await == 0
    })
    .await;
    let own = own(&world, &endpoint).await;
    let types: Vec<&str> = own
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        types,
        [
            "rejoin.state.saved",
            "rejoin.peer.dropped",
            "rejoin.state.restored"
        ]
    );
    assert_eq!(own[2]["data"]["automatic"], true);
    assert_eq!(own[2]["data"]["to_peer_id"], "new");
    assert_eq!(own[2]["data"]["peer_id"], "old");
}

#[tokio::test]
async fn there_are_none_without_the_setting() {
    let world = World::new().await;
    let endpoint = Endpoint::new().await;
    let app = world.replica(super::forwarding_to(&endpoint)).await;
    send_event(&app, &join_event("p", 0, "hp 71"))
        .await
        .expect(200);
    let leave = leave_event("p", 0, 9, DROP, "hp 72");
    send_event(&app, &leave).await.expect(200);
    let claim = json!({"claimed_by": "server-1"});
    app.post_json("/v1/users/player-7/resume", &claim)
        .await
        .expect(200);
    let types = types(&world, &endpoint).await;
    assert_eq!(types, ["peer.join.success", "peer.leave.success"]);
    let pool = world.database.pool().await;
    assert_eq!(count(&pool, "announced_states").await, 0);
}

#[tokio::test]
async fn what_was_saved_before_the_setting_is_not_announced() {
    let world = World::new().await;
    let endpoint = Endpoint::new().await;
    let before = world.replica(super::forwarding_to(&endpoint)).await;
    send_event(&before, &join_event("p", 30, "before"))
        .await
        .expect(200);
    let app = world.replica(with_events(&endpoint, true)).await;
    // It changes nothing of what a resume returns.
    send_event(&app, &join_event("late", 0, "late"))
        .await
        .expect(200);
    send_event(&app, &join_event("late-too", 1, "late too"))
        .await
        .expect(200);
    assert_eq!(own(&world, &endpoint).await, [] as [Value; 0]);
    send_event(&app, &join_event("q", 40, "after"))
        .await
        .expect(200);
    let saved = saved(&world, &endpoint).await;
    assert_eq!(saved.len(), 1);
    assert_eq!(saved[0][1], "after");
}

/// A user plays on many peers at once, through both replicas: the events of the states have the order
/// of their changes, and the last one is what a resume returns.
#[tokio::test]
async fn two_replicas_announce_each_state_once_and_in_order() {
    let world = World::new().await;
    let endpoint = Endpoint::new().await;
    let replicas = [
        world.replica(with_events(&endpoint, true)).await,
        world.replica(with_events(&endpoint, true)).await,
    ];
    let mut sends = tokio::task::JoinSet::new();
    for second in 0..50 {
        for user in ["player-1", "player-2"] {
            let app = replicas[(second % 2) as usize].clone();
            let mut join = join_event(&format!("p{second}"), second, &format!("state {second}"));
            join["data"]["user_id"] = json!(user);
            sends.spawn(async move { send_event(&app, &join).await.expect(200) });
        }
    }
    while let Some(sent) = sends.join_next().await {
        sent.unwrap();
    }
    let events = own(&world, &endpoint).await;
    for user in ["player-1", "player-2"] {
        let times: Vec<&str> = events
            .iter()
            .filter(|event| event["data"]["user_id"] == user)
            .map(|event| event["timestamp"].as_str().unwrap())
            .collect();
        assert!(times.is_sorted_by(|one, next| one < next), "{times:?}");
        assert_eq!(times.last(), Some(&"2026-12-01T12:00:49.000000Z"));
    }
}
