//! Webhooks: what 100ms tells becomes observations and presence, in whatever order and however often it is told.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::command::settings;
use crate::support::postgres;
use crate::support::program::{Program, Upstream};
use crate::support::webhooks::{
    OTHER_WEBHOOK_SECRET, WEBHOOK_SECRET, join_event, leave_event, send_event, send_webhook,
};
use crate::support::world::{Answer, ROOM, Replica, Setup, World};

async fn resume(app: &Replica) -> Value {
    app.get("/v1/users/player-7/resume")
        .await
        .expect(200)
        .json()
}

#[tokio::test]
async fn a_drop_keeps_what_the_peer_had_and_tells_who_is_there() {
    let world = World::new().await;
    let app = world.replica(Setup::with_webhooks()).await;
    send_event(&app, &join_event("old", 0, ""))
        .await
        .expect(200);
    send_event(&app, &join_event("new", 30, ""))
        .await
        .expect(200);
    send_event(
        &app,
        &leave_event("old", 0, 40, "websocket closed", "{\"hp\":71}"),
    )
    .await
    .expect(200);

    let state = resume(&app).await;
    assert_eq!(state["metadata_raw"], "{\"hp\":71}");
    assert_eq!(state["peer_id"], "old");
    let since = "2026-12-01T12:00:40.000000Z";
    assert_eq!(
        state["presence"],
        json!({"status": "dropped", "reason": "websocket closed", "since": since})
    );
    let new =
        json!([{"peer_id": "new", "room_id": ROOM, "joined_at": "2026-12-01T12:00:30.000000Z"}]);
    assert_eq!(state["connected_peers"], new);
    app.get("/v1/users/player-7/resume?only=dropped")
        .await
        .expect(200);

    // The end of the session takes whoever is still in it along, and changes nothing for who left before.
    let mut end = join_event("any", 0, "");
    end["type"] = "session.close.success".into();
    end["timestamp"] = "2026-12-01T12:00:50Z".into();
    send_event(&app, &end).await.expect(200);
    let state = resume(&app).await;
    assert_eq!(state["presence"]["status"], "dropped");
    assert_eq!(state["connected_peers"], json!([]));
}

#[tokio::test]
async fn a_later_sight_through_the_rest_api_resurrects_and_an_earlier_one_does_not() {
    let world = World::new().await;
    let app = world.replica(Setup::with_webhooks()).await;
    world.join("player-7", "peer-1", "saved");
    app.snapshot("peer-1").await.expect(201);
    send_event(
        &app,
        &leave_event("peer-1", 0, 10, "client request", "saved"),
    )
    .await
    .expect(200);
    app.snapshot("peer-1").await.expect(200);
    assert_eq!(resume(&app).await["presence"]["status"], "left");
    world.clock.advance(std::time::Duration::from_mins(1));
    app.snapshot("peer-1").await.expect(200);
    assert_eq!(resume(&app).await["presence"]["status"], "connected");
}

#[tokio::test]
async fn only_who_knows_a_secret_is_let_in_and_only_json_is_taken() {
    let world = World::new().await;
    let app = world.replica(Setup::with_webhooks()).await;
    let event = join_event("old", 0, "x").to_string();
    for wrong in [
        "",
        "webhook-secret-",
        "webhook-secret-1,webhook-secret-2",
        "webhook-secret-3",
    ] {
        let refused = send_webhook(&app, wrong, event.clone()).await.expect(401);
        assert_eq!(refused.code(), "unauthorized");
    }
    Answer::to(
        app.request(Method::POST, "/v1/webhooks/100ms")
            .body(event.clone()),
    )
    .await
    .expect(401);
    send_webhook(&app, OTHER_WEBHOOK_SECRET, event.clone())
        .await
        .expect(200);
    assert_eq!(
        send_webhook(&app, WEBHOOK_SECRET, "not json")
            .await
            .expect(400)
            .code(),
        "invalid-request"
    );
    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(1 << 20));
    assert_eq!(
        send_webhook(&app, WEBHOOK_SECRET, large)
            .await
            .expect(413)
            .code(),
        "payload-too-large"
    );
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
    assert_eq!(
        send_webhook(&without, WEBHOOK_SECRET, event)
            .await
            .expect(404)
            .code(),
        "not-found"
    );
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
    let state = resume(&app).await;
    assert_eq!(state["metadata_raw"], "saved");
    assert_eq!(state["name"], "player \u{fffd}\u{fffd}");
    assert_eq!(state["presence"]["status"], "connected");

    // The metadata is refused, presence is stored.
    let odd_metadata = leave_event("old", 0, 40, "websocket closed", "lost ?");
    send_webhook(&app, WEBHOOK_SECRET, with_odd_byte(&odd_metadata))
        .await
        .expect(200);
    let state = resume(&app).await;
    assert_eq!(state["metadata_raw"], "saved");
    assert_eq!(state["presence"]["status"], "dropped");
}

#[tokio::test]
async fn while_the_database_is_away_100ms_is_told_to_try_again() {
    let world = World::new().await;
    let away = Setup {
        database_url: Setup::without_database().database_url,
        ..Setup::with_webhooks()
    };
    let app = world.replica(away).await;
    assert_eq!(
        send_event(&app, &join_event("old", 0, "x"))
            .await
            .expect(503)
            .code(),
        "database-unavailable"
    );
}

#[tokio::test]
async fn one_event_a_hundred_times_at_once_through_two_replicas_is_one_row() {
    let world = World::new().await;
    let (one, two) = (
        world.replica(Setup::with_webhooks()).await,
        world.replica(Setup::with_webhooks()).await,
    );
    let event = leave_event("old", 0, 40, "websocket closed", "saved");
    let deliveries = (0..100).map(|place| {
        let (app, event) = (
            if place % 2 == 0 {
                one.clone()
            } else {
                two.clone()
            },
            event.clone(),
        );
        async move { send_event(&app, &event).await.expect(200) }
    });
    futures_util::future::join_all(deliveries).await;
    let history = one
        .get("/v1/users/player-7/snapshots")
        .await
        .expect(200)
        .json();
    assert_eq!(history["snapshots"].as_array().unwrap().len(), 1);
    assert_eq!(history["snapshots"][0]["source"], "webhook");
    assert_eq!(resume(&two).await["presence"]["status"], "dropped");
}

/// Joins and leaves of two peers, in any order and with repetitions, end in one state, presence included.
#[test]
fn no_order_and_no_repetition_of_joins_and_leaves_matters() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let events = [
        join_event("old", 0, ""),
        leave_event("old", 0, 40, "websocket closed", "{\"hp\":71}"),
        join_event("new", 30, ""),
        leave_event("new", 30, 50, "client request", ""),
    ];
    let orders = (
        Just((0..events.len()).collect::<Vec<_>>()).prop_shuffle(),
        prop::collection::vec(0..events.len(), 0..8),
    );
    let mut runner = TestRunner::new(Config {
        cases: 24,
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(&orders, |(order, repeated)| {
        runtime.block_on(async {
            let world = World::new().await;
            let app = world.replica(Setup::with_webhooks()).await;
            for place in order.iter().chain(&repeated) {
                send_event(&app, &events[*place]).await.expect(200);
            }
            let state = resume(&app).await;
            assert_eq!(state["peer_id"], "old");
            assert_eq!(state["metadata_raw"], "{\"hp\":71}");
            assert_eq!(state["changed_at"], "2026-12-01T12:00:40.000000Z");
            assert_eq!(state["presence"]["status"], "dropped");
            assert_eq!(state["connected_peers"], json!([]));
        });
        Ok(())
    });
    outcome.unwrap();
}

/// What 100ms tells twice, or five thousand times, costs no memory.
#[tokio::test]
async fn five_thousand_duplicates_are_one_row_and_take_no_memory() {
    let (upstream, database) = (Upstream::start().await, postgres::database().await);
    let mut variables = settings(database.url(), &upstream);
    variables.push(("REJOIN_WEBHOOK_SECRETS", WEBHOOK_SECRET));
    let program = Program::start(&[], &variables).await;
    let app = Replica::at(program.base.clone());
    // By the machine's clock: a time ahead of it would be another each time.
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
        futures_util::future::join_all(senders).await;
    };
    deliver(1_000).await;
    let before = program.resident_mib();
    deliver(5_000).await;
    let after = program.resident_mib();
    assert!(after <= before + 4, "{before} MiB, then {after} MiB");
    let history = app
        .get("/v1/users/player-7/snapshots")
        .await
        .expect(200)
        .json();
    assert_eq!(history["snapshots"].as_array().unwrap().len(), 1);
}
