//! Automatic restores: players get their state back without any code in the game.

use std::time::{Duration, Instant};

use hms_sim::{Effect, Fault, FaultRule, LeaveAt, Operation, WebhookRule, WebhookSettings};
use rejoin::config::RestoreArgs;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::rows;
use crate::support::webhooks::send_webhooks;
use crate::support::world::{ROOM, Replica, Setup, World};

/// A world whose 100ms sends webhooks to a replica that restores these states automatically.
pub(super) async fn world(which: &str) -> (World, Replica) {
    let world = World::new().await;
    let app = replica(&world, which).await;
    send_webhooks(&world.sim, &app.base);
    (world, app)
}

async fn replica(world: &World, which: &str) -> Replica {
    let setup = Setup {
        restores: RestoreArgs::at(which),
        ..Setup::with_webhooks()
    };
    world.replica(setup).await
}

/// `old` plays and drops, which is reported now or when its ghost ends. It is never fetched.
async fn play_and_drop(world: &World, leave_at: LeaveAt) {
    world.join("player-7", "old", "");
    world.set("old", "hp 71");
    world.drop_peer_reported("old", leave_at);
    all_delivered(world).await;
    world.clock.advance(Duration::from_secs(2));
}

/// Waits until 100ms has delivered every event.
pub(super) async fn all_delivered(world: &World) {
    until(world, "every event is delivered", async || {
        world.sim.pending_deliveries() == 0
    })
    .await;
}

/// Waits until `condition` holds, while the clock of the world runs ten times as fast as ours.
async fn until(world: &World, what: &str, condition: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "{what}: not in time"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
        world.clock.advance(Duration::from_millis(200));
    }
}

pub(super) async fn jobs(pool: &PgPool) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM restore_jobs")
        .fetch_one(pool)
        .await
        .unwrap()
}

pub(super) async fn assert_one_job_waits(world: &World) {
    assert_eq!(
        (
            jobs(&world.database.pool().await).await,
            world.metadata_of("new").as_str()
        ),
        (1, "")
    );
}

pub(super) async fn until_jobs_are_done(world: &World) {
    let pool = world.database.pool().await;
    until(world, "the jobs are done", async || jobs(&pool).await == 0).await;
}

pub(super) async fn until_restored(world: &World, peer: &str) {
    until(world, "the state is back", async || {
        world.metadata_of(peer) == "hp 71"
    })
    .await;
    until_jobs_are_done(world).await;
    assert_eq!(
        rows(world).await.last(),
        Some(&json!(["restore", peer, "restored", null]))
    );
}

#[tokio::test]
async fn a_player_who_dropped_gets_their_state_when_they_join_again() {
    let (world, app) = world("dropped").await;
    play_and_drop(&world, LeaveAt::Drop).await;
    let dropped = app.resume("player-7").await.expect(200).json();
    world.join("player-7", "new", "");
    until_restored(&world, "new").await;
    let now = app.resume("player-7").await.expect(200).json();
    assert_eq!(
        (&now["peer_id"], &now["changed_at"]),
        (&json!("new"), &dropped["changed_at"])
    );
    assert_eq!(world.updates().len(), 1);
    let away: bool =
        sqlx::query_scalar("SELECT automatic AND after_drop > interval '1 second' FROM resumes")
            .fetch_one(&world.database.pool().await)
            .await
            .unwrap();
    assert!(away);
    assert!(
        app.get("/metrics")
            .await
            .text
            .contains("rejoin_drop_to_resume_seconds_count")
    );
}

#[tokio::test]
async fn a_drop_that_is_reported_after_the_join_is_waited_for() {
    let (world, _app) = world("dropped").await;
    play_and_drop(&world, LeaveAt::GhostEnd).await;
    world.join("player-7", "new", "");
    all_delivered(&world).await;
    assert_one_job_waits(&world).await;
    world.clock.advance(Duration::from_mins(1));
    until_restored(&world, "new").await;
}

#[tokio::test]
async fn always_restores_the_state_of_a_ghost_that_was_never_observed() {
    let (world, _app) = world("always").await;
    play_and_drop(&world, LeaveAt::GhostEnd).await;
    world.join("player-7", "new", "");
    until_restored(&world, "new").await;
}

#[tokio::test]
async fn nothing_is_restored_after_a_leave_or_when_it_is_off() {
    for (which, leaves) in [("dropped", true), ("off", false)] {
        let (world, app) = world(which).await;
        world.join("player-7", "old", "");
        world.set("old", "hp 71");
        app.snapshot("old").await;
        if leaves {
            world.sim.leave(ROOM, "old").unwrap();
        } else {
            world.drop_peer_reported("old", LeaveAt::Drop);
        }
        all_delivered(&world).await;
        world.join("player-7", "new", "");
        all_delivered(&world).await;
        until_jobs_are_done(&world).await;
        assert_eq!(
            (world.metadata_of("new").as_str(), world.updates().len()),
            ("", 0),
            "{which}"
        );
    }
}

#[tokio::test]
async fn nothing_is_restored_after_the_window() {
    let (world, _app) = world("dropped").await;
    play_and_drop(&world, LeaveAt::Drop).await;
    world.clock.advance(Duration::from_mins(10));
    world.join("player-7", "new", "");
    all_delivered(&world).await;
    until_jobs_are_done(&world).await;
    assert_eq!(world.metadata_of("new"), "");
}

#[tokio::test]
async fn metadata_that_the_new_peer_has_set_is_not_overwritten() {
    let (world, _app) = world("dropped").await;
    play_and_drop(&world, LeaveAt::GhostEnd).await;
    world.join("player-7", "new", "");
    all_delivered(&world).await;
    world.set("new", "a new game");
    world.clock.advance(Duration::from_mins(1));
    until_jobs_are_done(&world).await;
    assert_eq!(
        (world.metadata_of("new").as_str(), world.updates().len()),
        ("a new game", 0)
    );
}

#[tokio::test]
async fn a_join_that_is_delivered_many_times_restores_once() {
    let (world, app) = world("dropped").await;
    let other = replica(&world, "dropped").await;
    play_and_drop(&world, LeaveAt::Drop).await;
    let duplicate = WebhookRule::always(&["peer.join.success"], Effect::Duplicate(20));
    world.sim.set_webhook_settings(WebhookSettings {
        rules: vec![duplicate],
        parallel: 8,
        ..WebhookSettings::default()
    });
    world.join("player-7", "new", "");
    until_restored(&world, "new").await;
    all_delivered(&world).await;
    world.sim.replay(&hms_sim::Replay::default());
    all_delivered(&world).await;
    until_jobs_are_done(&world).await;
    assert_eq!(world.updates().len(), 1);
    assert_eq!(rows(&world).await.len(), 1);
    for app in [app, other] {
        assert_eq!(
            app.resume("player-7").await.expect(200).json()["peer_id"],
            "new"
        );
    }
}

/// 100ms reports a join before the peer can be fetched.
#[tokio::test]
async fn a_peer_that_cannot_be_fetched_yet_is_fetched_again_later() {
    let (world, _app) = world("dropped").await;
    play_and_drop(&world, LeaveAt::Drop).await;
    world
        .sim
        .set_faults([FaultRule::times(Operation::Peer, 3, Fault::Status(404))]);
    world.join("player-7", "new", "");
    until_restored(&world, "new").await;
}

#[tokio::test]
async fn a_restore_to_a_peer_that_is_gone_is_given_up_and_recorded() {
    let (world, _app) = world("dropped").await;
    play_and_drop(&world, LeaveAt::Drop).await;
    world
        .sim
        .set_faults([FaultRule::always(Operation::Peer, Fault::Status(404))]);
    world.join("player-7", "new", "");
    all_delivered(&world).await;
    until_jobs_are_done(&world).await;
    assert_eq!(
        rows(&world).await,
        [json!(["restore", "new", "failed", "peer-not-found"])]
    );
}

#[tokio::test]
async fn a_restore_waits_while_100ms_is_down() {
    for operation in [Operation::Any, Operation::Update] {
        let (world, _app) = world("dropped").await;
        play_and_drop(&world, LeaveAt::Drop).await;
        world
            .sim
            .set_faults([FaultRule::always(operation, Fault::Status(503))]);
        world.join("player-7", "new", "");
        all_delivered(&world).await;
        for _ in 0..60 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            world.clock.advance(Duration::from_secs(1));
        }
        assert_one_job_waits(&world).await;
        world.sim.set_faults([]);
        until_restored(&world, "new").await;
        assert_eq!(
            rows(&world).await,
            [json!(["restore", "new", "restored", null])] as [Value; 1]
        );
    }
}

/// The update took effect, but its answer was lost. The next attempt finds the state on the peer
/// instead of sending it again.
#[tokio::test]
async fn an_update_whose_answer_was_lost_is_found_and_recorded() {
    let (world, app) = world("dropped").await;
    play_and_drop(&world, LeaveAt::Drop).await;
    world
        .sim
        .set_faults([FaultRule::always(Operation::Update, Fault::CutBody)]);
    world.join("player-7", "new", "");
    until_restored(&world, "new").await;
    let resumed = app.resume("player-7").await.expect(200).json();
    assert_eq!(
        (&resumed["peer_id"], &resumed["changed_at"]),
        (&json!("new"), &json!("2026-12-01T12:00:00.000000Z"))
    );
}

/// An old state of the player is saved, and the state of the ghost is not yet: that one is waited
/// for.
#[tokio::test]
async fn an_older_state_than_the_ghosts_is_not_restored() {
    for ends_by_drop in [false, true] {
        let (world, app) = world("dropped").await;
        world.join("player-7", "older", "");
        world.set("older", "yesterday");
        app.snapshot("older").await.expect(201);
        if ends_by_drop {
            world.drop_peer_reported("older", LeaveAt::Drop);
        } else {
            world.sim.leave(ROOM, "older").unwrap();
        }
        all_delivered(&world).await;
        world.clock.advance(Duration::from_secs(1));
        world.join("player-7", "old", "");
        all_delivered(&world).await;
        until_jobs_are_done(&world).await;
        world.set("old", "hp 71");
        world.drop_peer("old");
        world.clock.advance(Duration::from_secs(1));
        world.join("player-7", "new", "");
        all_delivered(&world).await;
        assert_one_job_waits(&world).await;
        world.clock.advance(Duration::from_mins(1));
        until_restored(&world, "new").await;
    }
}
