//! That a state was sent is no proof that it arrived: asking again gets there.

use std::time::Duration;

use futures_util::future::join_all;
use hms_sim::{Fault, FaultRule, Operation, RateLimit};
use serde_json::{Value, json};

use super::{play_and_drop, restore, rows};
use crate::support::wait;
use crate::support::world::{ROOM, Replica, Setup, World};

fn overwriting() -> Value {
    json!({"room_id": ROOM, "peer_id": "new", "overwrite": true})
}

/// `old` dropped with `hp 71`, and `new` joined with the defaults of the client.
async fn back_with_defaults() -> (World, Replica) {
    let world = World::new().await;
    let app = world
        .replica(Setup {
            timeout: Duration::from_secs(1),
            ..Setup::default()
        })
        .await;
    play_and_drop(&world, &app, "hp 71").await;
    world.join("player-7", "new", "defaults");
    (world, app)
}

async fn assert_restored(world: &World, app: &Replica) {
    assert_eq!(world.metadata_of("new"), "hp 71");
    app.snapshot("new").await;
    let now = app.resume("player-7").await.expect(200).json();
    assert_eq!(
        (&now["peer_id"], &now["metadata_raw"], &now["changed_at"]),
        (
            &json!("new"),
            &json!("hp 71"),
            &json!("2026-12-01T12:00:01.000000Z")
        )
    );
}

#[tokio::test]
async fn a_request_whose_update_failed_is_made_again_and_gets_there() {
    for fault in [
        Fault::Status(500),
        Fault::Hang,
        Fault::Status(404),
        Fault::RateLimit(RateLimit::Header(1)),
    ] {
        let (world, app) = back_with_defaults().await;
        world
            .sim
            .set_faults([FaultRule::always(Operation::Update, fault.clone())]);
        let failed = restore(&app, &overwriting()).await;
        assert!(!failed.status.is_success(), "{fault:?}: {}", failed.text);
        world.sim.set_faults([]);
        world.clock.advance(Duration::from_secs(1));
        // It is observed in between, which says nothing of the state that was sent.
        let answer = wait_for_the_rate_limit(&app).await;
        assert_eq!(answer["restored"], true, "{fault:?}: {answer}");
        assert_restored(&world, &app).await;
        let outcomes: Vec<Value> = rows(&world)
            .await
            .iter()
            .map(|row| row[2].clone())
            .collect();
        assert_eq!(outcomes.last(), Some(&json!("restored")), "{fault:?}");
        // By now it is the peer's own, also if it is asked for once more.
        let again = restore(&app, &overwriting()).await.expect(200).json();
        assert_eq!(again["restored"], false, "{fault:?}: {again}");
        assert_eq!(again["why"], "same-peer", "{fault:?}: {again}");
        assert_eq!(again["metadata_raw"], "hp 71", "{fault:?}: {again}");
    }
}

/// The answer, once 100ms accepts requests again.
async fn wait_for_the_rate_limit(app: &Replica) -> Value {
    wait::until("100ms limits the rate no more", async || {
        app.snapshot("new").await.status.is_success()
    })
    .await;
    restore(app, &overwriting()).await.expect(200).json()
}

#[tokio::test]
async fn what_the_player_set_after_a_lost_answer_is_not_overwritten() {
    let (world, app) = back_with_defaults().await;
    world
        .sim
        .set_faults([FaultRule::always(Operation::Update, Fault::CutBody)]);
    restore(&app, &overwriting()).await.expect(502);
    world.sim.set_faults([]);
    world.set("new", "hp 99");
    let again = restore(&app, &overwriting()).await.expect(200).json();
    assert_eq!(again["why"], "same-peer", "{again}");
    assert_eq!(world.metadata_of("new"), "hp 99");
    assert_eq!(app.resumed_metadata("player-7").await, "hp 99");
}

/// The answer was lost, but the state is there: the row of the request says so in the end.
#[tokio::test]
async fn a_state_whose_answer_was_lost_is_found_by_the_next_request() {
    let (world, app) = back_with_defaults().await;
    world
        .sim
        .set_faults([FaultRule::always(Operation::Update, Fault::CutBody)]);
    restore(&app, &overwriting()).await.expect(502);
    world.sim.set_faults([]);
    world.clock.advance(Duration::from_secs(1));
    app.snapshot("new").await.expect(201);
    let again = restore(&app, &overwriting()).await.expect(200).json();
    assert_eq!(again["why"], "same-peer", "{again}");
    assert_eq!(
        rows(&world).await,
        [
            json!(["restore", "new", "restored", null]),
            json!(["restore", "new", "same-peer", null])
        ]
    );
    assert_restored(&world, &app).await;
}

#[tokio::test]
async fn two_requests_at_once_get_there_too() {
    let (world, app) = back_with_defaults().await;
    let other = world.replica(Setup::default()).await;
    let answers = join_all([&app, &other].map(async |app| restore(app, &overwriting()).await));
    for answer in answers.await {
        assert_eq!(answer.expect(200).json()["metadata_raw"], "hp 71");
    }
    world.clock.advance(Duration::from_secs(1));
    assert_restored(&world, &app).await;
}

/// The mark of what 100ms refused is taken back. Without an answer it stays, since the state may
/// have arrived.
#[tokio::test]
async fn the_mark_of_a_state_that_was_refused_is_taken_back() {
    let limit = || Fault::RateLimit(RateLimit::Header(1));
    for (faults, is_marked) in [
        (vec![limit()], false),
        (vec![Fault::Status(404)], false),
        (vec![Fault::Unauthorized, Fault::Unauthorized], false),
        (vec![Fault::Hang], true),
        (vec![Fault::CutBody; 3], true),
        // The second attempt is refused, and the first one may have arrived.
        (vec![Fault::CutBody, limit()], true),
        (vec![Fault::CutBody, Fault::Status(404)], true),
    ] {
        let (world, app) = back_with_defaults().await;
        let rules = faults.iter().cloned();
        let rules = rules.map(|fault| FaultRule::times(Operation::Update, 1, fault));
        world.sim.set_faults(rules);
        let failed = restore(&app, &overwriting()).await;
        assert!(!failed.status.is_success(), "{faults:?}: {}", failed.text);
        let marked: i64 =
            sqlx::query_scalar("SELECT count(*) FROM peers WHERE restored_at IS NOT NULL")
                .fetch_one(&world.database.pool().await)
                .await
                .unwrap();
        assert_eq!(marked == 1, is_marked, "{faults:?}");
    }
}
