//! Webhooks: events become observations and presence, in whatever order and however often 100ms
//! sends them.

use std::time::Duration;

use futures_util::future::join_all;
use insta::assert_json_snapshot;
use proptest::prelude::*;
use reqwest::Method;
use serde_json::Value;

use crate::support::command::settings;
use crate::support::generated::for_generated;
use crate::support::postgres;
use crate::support::problem::problem;
use crate::support::program::{Program, Upstream};
use crate::support::webhooks::{
    OTHER_WEBHOOK_SECRET, WEBHOOK_SECRET, join_event, leave_event, send_event, send_webhook,
};
use crate::support::world::{Answer, Replica, Setup, World};

/// What a resume of `player-7` returns.
async fn saved_state(app: &Replica) -> Value {
    app.resume("player-7").await.expect(200).json()
}

async fn status(app: &Replica) -> Value {
    saved_state(app).await["presence"]["status"].clone()
}

#[tokio::test]
async fn a_drop_saves_the_metadata_of_the_peer_and_resume_lists_the_connected_peers() {
    let world = World::new().await;
    let app = world.replica(Setup::with_webhooks()).await;
    let drop = leave_event("old", 0, 40, "websocket closed", "{\"hp\":71}");
    for event in [join_event("old", 0, ""), join_event("new", 30, ""), drop] {
        send_event(&app, &event).await.expect(200);
    }
    let dropped = saved_state(&app).await;
    assert_json_snapshot!(dropped, @r#"
    {
      "age_seconds": 0,
      "changed_at": "2026-12-01T12:00:00.000000Z",
      "connected_peers": [
        {
          "joined_at": "2026-12-01T12:00:30.000000Z",
          "peer_id": "new",
          "room_id": "627cda81ab4f3b56a077dc33"
        }
      ],
      "joined_at": "2026-12-01T12:00:00.000000Z",
      "last_observed_at": "2026-12-01T12:00:40.000000Z",
      "metadata": {
        "hp": 71
      },
      "metadata_raw": "{\"hp\":71}",
      "name": "player-7",
      "peer_id": "old",
      "presence": {
        "reason": "websocket closed",
        "since": "2026-12-01T12:00:40.000000Z",
        "status": "dropped"
      },
      "role": "player",
      "room_id": "627cda81ab4f3b56a077dc33",
      "snapshot_id": "01a2317a-7a40-7f6f-993f-22d26341ef55",
      "user_id": "player-7"
    }
    "#);
    app.get("/v1/users/player-7/resume?only=dropped")
        .await
        .expect(200);

    // The end of the session ends the peers that are still in it, and changes nothing for those
    // that left before.
    let mut end = join_event("any", 0, "");
    end["type"] = "session.close.success".into();
    end["timestamp"] = "2026-12-01T12:00:50Z".into();
    send_event(&app, &end).await.expect(200);
    let mut expected = dropped;
    expected["connected_peers"] = Value::Array(Vec::new());
    assert_eq!(saved_state(&app).await, expected);
}

#[tokio::test]
async fn a_leave_is_final_whatever_is_observed_after_it() {
    let world = World::new().await;
    let app = world.replica(Setup::with_webhooks()).await;
    world.join("player-7", "peer-1", "saved");
    app.snapshot("peer-1").await.expect(201);
    let leave = leave_event("peer-1", 0, 10, "client request", "saved");
    send_event(&app, &leave).await.expect(200);
    app.snapshot("peer-1").await.expect(200);
    assert_eq!(status(&app).await, "left");
    world.clock.advance(Duration::from_mins(1));
    app.snapshot("peer-1").await.expect(200);
    assert_eq!(status(&app).await, "left");
}

#[tokio::test]
async fn the_largest_metadata_fits_however_it_is_escaped() {
    let world = World::new().await;
    let app = world.replica(Setup::with_webhooks()).await;
    // Each character takes six bytes in JSON.
    let largest = "\u{1f}".repeat(262_144);
    let event = join_event("peer-1", 0, &largest);
    assert!(event.to_string().len() > 1_500_000);
    send_event(&app, &event).await.expect(200);
    assert_eq!(app.resumed_metadata("player-7").await, largest);

    // What is larger is not stored, but the peer is known to be connected.
    let larger = "x".repeat(262_145);
    send_event(&app, &join_event("peer-2", 5, &larger))
        .await
        .expect(200);
    let state = app.resume("player-7").await.expect(200).json();
    assert_eq!(state["peer_id"], "peer-1");
    assert_eq!(state["connected_peers"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_webhook_needs_a_secret_and_json() {
    let world = World::new().await;
    let app = world.replica(Setup::with_webhooks()).await;
    let event = join_event("old", 0, "x").to_string();
    for wrong in [
        "",
        "webhook-secret-",
        "webhook-secret-1,webhook-secret-2",
        "webhook-secret-3",
    ] {
        let refused = send_webhook(&app, wrong, event.clone()).await;
        problem(refused, 401, "unauthorized");
    }
    let without_secret = app
        .request(Method::POST, "/v1/webhooks/100ms")
        .body(event.clone());
    problem(Answer::to(without_secret).await, 401, "unauthorized");
    send_webhook(&app, OTHER_WEBHOOK_SECRET, event.clone())
        .await
        .expect(200);
    let not_json = send_webhook(&app, WEBHOOK_SECRET, "not json").await;
    problem(not_json, 400, "invalid-request");
    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(2 << 20));
    let too_large = send_webhook(&app, WEBHOOK_SECRET, large).await;
    problem(too_large, 413, "payload-too-large");
    for odd in [
        "{}",
        "[]",
        r#"{"type":"recording.success"}"#,
        r#"{"type":"peer.join.success","timestamp":"20XX-"}"#,
    ] {
        send_webhook(&app, WEBHOOK_SECRET, odd).await.expect(200);
    }
    let mut nobody = join_event("old", 0, "x");
    nobody["data"]["user_id"] = "".into();
    send_event(&app, &nobody).await.expect(200);

    let without = world.replica(Setup::default()).await;
    let turned_off = send_webhook(&without, WEBHOOK_SECRET, event).await;
    problem(turned_off, 404, "not-found");
}

#[tokio::test]
async fn bytes_that_are_not_utf8_cost_their_own_field_only() {
    let world = World::new().await;
    let app = world.replica(Setup::with_webhooks()).await;
    let with_odd_byte = |event: &Value| {
        let body = event.to_string();
        let (before, after) = body.split_once('?').unwrap();
        [before.as_bytes(), b"\xff", after.as_bytes()].concat()
    };
    let mut odd_name = join_event("old", 0, "saved");
    odd_name["data"]["user_name"] = "player ?".into();
    send_webhook(&app, WEBHOOK_SECRET, with_odd_byte(&odd_name))
        .await
        .expect(200);
    let state = saved_state(&app).await;
    assert_eq!(state["metadata_raw"], "saved");
    assert_eq!(state["name"], "player \u{fffd}\u{fffd}");
    assert_eq!(state["presence"]["status"], "connected");

    // The metadata is refused, presence is stored.
    let odd_metadata = leave_event("old", 0, 40, "websocket closed", "lost ?");
    send_webhook(&app, WEBHOOK_SECRET, with_odd_byte(&odd_metadata))
        .await
        .expect(200);
    let state = saved_state(&app).await;
    assert_eq!(state["metadata_raw"], "saved");
    assert_eq!(state["presence"]["status"], "dropped");
}

/// A label is stored up to 256 characters, and never fails an event.
#[tokio::test]
async fn texts_of_any_size_are_cut() {
    let world = World::new().await;
    let app = world.replica(Setup::with_webhooks()).await;
    let long = "⚔".repeat(6_000);
    let mut join = join_event("peer-1", 0, "{\"hp\":71}");
    for field in ["session_id", "user_name", "role"] {
        join["data"][field] = long.clone().into();
    }
    send_event(&app, &join).await.expect(200);
    let state = saved_state(&app).await;
    let cut = "⚔".repeat(256);
    assert_eq!([&state["name"], &state["role"]], [&cut, &cut]);
    assert_eq!(state["presence"]["status"], "connected");
    let mut close = join_event("peer-1", 0, "");
    close["type"] = "session.close.success".into();
    close["data"] = serde_json::json!({
        "room_id": join["data"]["room_id"], "session_id": long, "session_stopped_at": "2026-12-01T12:00:30Z",
    });
    send_event(&app, &close).await.expect(200);
    assert_eq!(status(&app).await, "ended");
    let mut leave = leave_event("peer-1", 0, 40, &long, "");
    leave["data"]["session_id"] = long.into();
    send_event(&app, &leave).await.expect(200);
    let presence = saved_state(&app).await["presence"].clone();
    assert_eq!([&presence["status"], &presence["reason"]], ["left", &cut]);
}

#[tokio::test]
async fn without_a_database_100ms_gets_a_503_and_so_sends_the_event_again() {
    let world = World::new().await;
    let away = Setup {
        database_url: Setup::without_database().database_url,
        ..Setup::with_webhooks()
    };
    let app = world.replica(away).await;
    let refused = send_event(&app, &join_event("old", 0, "x")).await;
    problem(refused, 503, "database-unavailable");
}

#[tokio::test]
async fn one_event_a_hundred_times_at_once_through_two_replicas_is_one_row() {
    let world = World::new().await;
    let (one, two) = (
        world.replica(Setup::with_webhooks()).await,
        world.replica(Setup::with_webhooks()).await,
    );
    let event = leave_event("old", 0, 40, "websocket closed", "saved");
    let replicas = [&one, &two];
    let deliveries = (0..100).map(|index| send_event(replicas[index % 2], &event));
    for answer in join_all(deliveries).await {
        answer.expect(200);
    }
    let history = one.history("player-7").await.expect(200);
    assert_json_snapshot!(history.json(), @r#"
    {
      "next_cursor": null,
      "snapshots": [
        {
          "first_observed_at": "2026-12-01T12:00:40.000000Z",
          "id": "01a2317a-7a40-7231-9875-3eccd32a0ad3",
          "joined_at": "2026-12-01T12:00:00.000000Z",
          "last_observed_at": "2026-12-01T12:00:40.000000Z",
          "metadata": "saved",
          "metadata_raw": "saved",
          "name": "player-7",
          "peer_id": "old",
          "role": "player",
          "room_id": "627cda81ab4f3b56a077dc33",
          "source": "webhook",
          "tracks": null,
          "user_id": "player-7"
        }
      ]
    }
    "#);
    assert_eq!(status(&two).await, "dropped");
}

/// Joins and leaves of two peers, in any order and with repetitions, end in one state, presence
/// included.
#[test]
fn the_order_and_repetition_of_joins_and_leaves_do_not_matter() {
    let events = [
        join_event("old", 0, ""),
        leave_event("old", 0, 40, "websocket closed", "{\"hp\":71}"),
        join_event("new", 30, ""),
        leave_event("new", 30, 50, "client request", ""),
    ];
    let indices = (
        Just((0..events.len()).collect::<Vec<_>>()).prop_shuffle(),
        prop::collection::vec(0..events.len(), 0..8),
    );
    for_generated(
        24,
        &indices,
        async {},
        &async |(): &(), (order, repeated)| {
            let world = World::new().await;
            let app = world.replica(Setup::with_webhooks()).await;
            for index in order.iter().chain(&repeated) {
                send_event(&app, &events[*index]).await.expect(200);
            }
            let state = saved_state(&app).await;
            assert_eq!(state["peer_id"], "old");
            assert_eq!(state["metadata_raw"], "{\"hp\":71}");
            // The peer dropped within a minute of its join, and was only a ghost since.
            assert_eq!(state["changed_at"], "2026-12-01T12:00:00.000000Z");
            assert_eq!(state["presence"]["status"], "dropped");
            assert_eq!(state["connected_peers"], Value::Array(Vec::new()));
        },
    );
}

/// An event that 100ms sends twice, or five thousand times, costs no memory.
#[tokio::test]
async fn five_thousand_duplicates_are_one_row_and_take_no_memory() {
    let (upstream, database) = (Upstream::start().await, postgres::database().await);
    let mut variables = settings(database.url(), &upstream);
    variables.push(("REJOIN_WEBHOOK_SECRETS", WEBHOOK_SECRET));
    let program = Program::start(&[], &variables).await;
    let app = program.app();
    // The program has the machine's clock, and dates an event from its future by the time it
    // arrives, which differs each time.
    let event = leave_event("old", 0, 40, "websocket closed", "saved")
        .to_string()
        .replace("2026-12-01", "2026-01-01");
    let deliver = async |count: usize| {
        let senders = (0..16).map(async |_| {
            for _ in 0..count / 16 {
                send_webhook(&app, WEBHOOK_SECRET, event.clone())
                    .await
                    .expect(200);
            }
        });
        join_all(senders).await;
    };
    deliver(1_000).await;
    let before = program.resident_mib();
    deliver(5_000).await;
    let after = program.resident_mib();
    assert!(after <= before + 4, "{before} MiB, then {after} MiB");
    let history = app.history("player-7").await.expect(200);
    assert_eq!(history.column("source"), ["webhook"]);
}
