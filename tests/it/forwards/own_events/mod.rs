//! rejoin's own events: what they say, when there are none, and their order.

mod handovers;
mod states;

use std::time::Duration;

use insta::assert_snapshot;
use rejoin::config::{EventArgs, ForwardArgs};
use serde_json::{Value, json};

use super::{Endpoint, count, forwarding_to, until_none_waits};
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
async fn there_are_none_without_the_setting() {
    let world = World::new().await;
    let endpoint = Endpoint::new().await;
    let app = world.replica(forwarding_to(&endpoint)).await;
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

/// A drop is stored before the rows of its peer are rebuilt, so that its event comes before the leave.
#[tokio::test]
async fn a_drop_that_is_reported_out_of_order_makes_one_event() {
    let (world, endpoint, app) = world(false).await;
    world.join("player-7", "p", "hp 71");
    world.clock.advance(Duration::from_secs(30));
    app.snapshot("p").await.expect(201);
    let leave = leave_event("p", 0, 20, DROP, "hp 70");
    for _ in 0..2 {
        send_event(&app, &leave).await.expect(200);
    }
    assert_eq!(
        types(&world, &endpoint).await,
        [
            "rejoin.state.saved",
            "rejoin.peer.dropped",
            "peer.leave.success",
            "peer.leave.success",
        ]
    );
}
