//! Nothing is decided for good on knowledge that is not final: what is known of a drop, of a ghost
//! and of the new peer comes late, and 100ms fails in between.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hms_sim::{Fault, FaultRule, LeaveAt, Operation};
use rejoin::config::RestoreArgs;
use serde_json::{Value, json};

use super::automatic::{
    all_delivered, assert_one_job_waits, jobs, until_jobs_are_done, until_restored, world,
};
use super::rows;
use crate::support::wait;
use crate::support::webhooks::{join_event, leave_event, send_event, send_webhooks};
use crate::support::world::{ROOM, Replica, Setup, World};

/// `old` has its state saved, and plays on for half an hour, which is longer than the window, before
/// its connection breaks. A moment later `new` joins.
async fn long_session(which: &str) -> (World, Replica) {
    let (world, app) = world(which).await;
    world.join("player-7", "old", "");
    world.set("old", "hp 71");
    app.snapshot("old").await.expect(201);
    all_delivered(&world).await;
    world.clock.advance(Duration::from_mins(30));
    world.drop_peer_reported("old", LeaveAt::GhostEnd);
    world.clock.advance(Duration::from_millis(300));
    world.join("player-7", "new", "");
    (world, app)
}

#[tokio::test]
async fn the_window_counts_from_the_drop_and_not_from_the_last_observation() {
    let (world, _app) = long_session("dropped").await;
    all_delivered(&world).await;
    assert_one_job_waits(&world).await;
    world.clock.advance(Duration::from_mins(1));
    until_restored(&world, "new").await;
}

#[tokio::test]
async fn always_looks_at_the_ghost_before_it_judges_the_window() {
    let (world, _app) = long_session("always").await;
    until_restored(&world, "new").await;
}

#[tokio::test]
async fn always_looks_at_a_ghost_whose_newer_state_is_unknown_before_it_gives_up() {
    let (world, app) = world("always").await;
    world.join("player-7", "older", "");
    world.set("older", "yesterday");
    app.snapshot("older").await.expect(201);
    world.drop_peer_reported("older", LeaveAt::Drop);
    all_delivered(&world).await;
    world.clock.advance(Duration::from_mins(30));
    world.join("player-7", "old", "");
    all_delivered(&world).await;
    until_jobs_are_done(&world).await;
    world.set("old", "hp 71");
    world.drop_peer_reported("old", LeaveAt::GhostEnd);
    world.join("player-7", "new", "");
    until_restored(&world, "new").await;
}

/// A replica that is sent the events of a test, while 100ms has the peers.
async fn without_deliveries(restores: RestoreArgs) -> (World, Replica) {
    let world = World::new().await;
    let setup = Setup {
        restores,
        ..Setup::with_webhooks()
    };
    let app = world.replica(setup).await;
    (world, app)
}

/// `old` joined and has its state saved, and `new` joined after it. Its job waits for the drop.
async fn back_before_the_leave(world: &World, app: &Replica) {
    world.join("player-7", "old", "");
    world.set("old", "hp 71");
    send_event(app, &join_event("old", 0, "")).await.expect(200);
    app.snapshot("old").await.expect(201);
    world.clock.advance(Duration::from_secs(9));
    world.drop_peer("old");
    world.join("player-7", "new", "");
    send_event(app, &join_event("new", 10, ""))
        .await
        .expect(200);
    until_a_job_waits(world).await;
}

async fn until_a_job_waits(world: &World) {
    let pool = world.database.pool().await;
    wait::until("a job waits for a leave", async || {
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM restore_jobs WHERE waiting)")
            .fetch_one(&pool)
            .await
            .unwrap()
    })
    .await;
}

async fn until_the_state_is_back(world: &World) {
    let pool = world.database.pool().await;
    wait::until("the state is back", async || {
        world.metadata_of("new") == "hp 71" && jobs(&pool).await == 0
    })
    .await;
    let restored = json!(["restore", "new", "restored", null]);
    assert_eq!(rows(world).await.last(), Some(&restored));
}

/// The clock of the world stands still, so that the job is not due by itself.
#[tokio::test]
async fn a_leave_wakes_the_job_that_waits_for_it() {
    let (world, app) = without_deliveries(RestoreArgs::at("dropped")).await;
    back_before_the_leave(&world, &app).await;
    assert_one_job_waits(&world).await;
    let leave = leave_event("old", 0, 9, "websocket closed", "hp 71");
    send_event(&app, &leave).await.expect(200);
    until_the_state_is_back(&world).await;
}

#[tokio::test]
async fn the_end_of_the_session_is_not_the_end_of_the_wait_for_the_drop() {
    let (world, app) = without_deliveries(RestoreArgs::at("dropped")).await;
    back_before_the_leave(&world, &app).await;
    let mut close = join_event("old", 0, "");
    close["type"] = "session.close.success".into();
    close["data"]["session_started_at"] = "2026-12-01T12:00:00Z".into();
    close["data"]["session_stopped_at"] = "2026-12-01T12:00:09Z".into();
    send_event(&app, &close).await.expect(200);
    let status = app.resume("player-7").await.expect(200).json();
    assert_eq!(status["presence"]["status"], "ended");
    world.clock.advance(Duration::from_secs(30));
    let pool = world.database.pool().await;
    wait::until("the job is attempted again", async || {
        sqlx::query_scalar("SELECT attempts > 1 AND waiting FROM restore_jobs")
            .fetch_one(&pool)
            .await
            .unwrap()
    })
    .await;
    let leave = leave_event("old", 0, 9, "websocket closed", "hp 71");
    send_event(&app, &leave).await.expect(200);
    until_the_state_is_back(&world).await;
}

/// The clock of the world stands still, so that the job is not due by itself.
#[tokio::test]
async fn the_end_of_the_new_peer_ends_its_job() {
    let left = leave_event("new", 10, 11, "left", "");
    let mut close = join_event("new", 10, "");
    close["type"] = "session.close.success".into();
    close["data"]["session_stopped_at"] = "2026-12-01T12:00:11Z".into();
    for end in [left, close] {
        let (world, app) = without_deliveries(RestoreArgs::at("dropped")).await;
        back_before_the_leave(&world, &app).await;
        send_event(&app, &end).await.expect(200);
        let pool = world.database.pool().await;
        wait::until("the job is over", async || jobs(&pool).await == 0).await;
        let gave_up = json!(["restore", "new", "gave-up", "peer-ended"]);
        assert_eq!(rows(&world).await, [gave_up]);
    }
}

/// Every attempt fails for 12 s. That uses up none of the looks at the ghost, whose state is known
/// only from such a look until its leave is reported.
#[tokio::test]
async fn failures_of_100ms_use_up_no_patience() {
    let (world, _app) = world("always").await;
    world.join("player-7", "old", "");
    world.set("old", "hp 71");
    world.drop_peer_reported("old", LeaveAt::GhostEnd);
    all_delivered(&world).await;
    let dropped_at = world.clock.now();
    world
        .sim
        .set_faults([FaultRule::always(Operation::Any, Fault::Status(503))]);
    world.join("player-7", "new", "");
    let pool = world.database.pool().await;
    let start = Instant::now();
    loop {
        let attempts: Option<i32> = sqlx::query_scalar("SELECT attempts FROM restore_jobs")
            .fetch_optional(&pool)
            .await
            .unwrap();
        if attempts.is_some_and(|attempts| attempts > 6) {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{attempts:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.clock.advance(Duration::from_millis(100));
    }
    world.sim.set_faults([]);
    until_restored(&world, "new").await;
    let waited = world.clock.now() - dropped_at;
    assert!(waited < chrono::TimeDelta::seconds(60), "{waited}");
}

/// The patience for a peer that is not there begins once 100ms has said so.
#[tokio::test]
async fn a_peer_is_waited_for_from_the_first_look_on() {
    let (world, _app) = world("dropped").await;
    world.join("player-7", "old", "");
    world.set("old", "hp 71");
    world.drop_peer_reported("old", LeaveAt::GhostEnd);
    world.join("player-7", "new", "");
    all_delivered(&world).await;
    world
        .sim
        .set_faults([FaultRule::times(Operation::Peer, 2, Fault::Status(404))]);
    // The leave is reported after the patience would be over if it began with the join.
    world.clock.advance(Duration::from_secs(61));
    until_restored(&world, "new").await;
}

#[tokio::test]
async fn what_is_given_up_has_a_row_that_says_why() {
    for (ends, why) in [("client request", "left"), ("peer kicked", "kicked")] {
        let (world, app) = without_deliveries(RestoreArgs::at("dropped")).await;
        back_before_the_leave(&world, &app).await;
        send_event(&app, &leave_event("old", 0, 9, ends, "hp 71"))
            .await
            .expect(200);
        let pool = world.database.pool().await;
        wait::until("the job is done", async || jobs(&pool).await == 0).await;
        assert_eq!(
            rows(&world).await,
            [json!(["restore", "new", "gave-up", why])]
        );
    }
    // And where no leave is reported.
    let (world, app) = without_deliveries(RestoreArgs::at("dropped")).await;
    back_before_the_leave(&world, &app).await;
    world.clock.advance(Duration::from_secs(130));
    let pool = world.database.pool().await;
    wait::until("the job is done", async || jobs(&pool).await == 0).await;
    let expected = json!(["restore", "new", "gave-up", "drop-not-reported"]);
    assert_eq!(rows(&world).await, [expected]);
    let metrics = app.get("/metrics").await.text;
    assert!(metrics.contains(r#"rejoin_restores_total{automatic="true",outcome="gave-up"}"#));
}

/// The row is there before the state is sent.
#[tokio::test]
async fn a_restore_that_is_being_sent_has_a_row() {
    let (world, app) = world("dropped").await;
    world
        .sim
        .set_faults([FaultRule::times(Operation::Update, 1, Fault::Hang)]);
    world.join("player-7", "old", "");
    world.set("old", "hp 71");
    app.snapshot("old").await.expect(201);
    world.drop_peer_reported("old", LeaveAt::Drop);
    all_delivered(&world).await;
    world.join("player-7", "new", "");
    let sending = [json!(["restore", "new", "sending", null])];
    wait::until("the state is being sent", async || {
        rows(&world).await == sending
    })
    .await;
}

#[tokio::test]
async fn a_state_goes_to_peers_of_its_room_unless_any_room_is_allowed() {
    for scope in ["room", "any"] {
        let world = World::new().await;
        let setup = Setup {
            restores: RestoreArgs::at("dropped").with_scope(scope),
            ..Setup::with_webhooks()
        };
        let app = world.replica(setup).await;
        send_webhooks(&world.sim, &app.base);
        world.join("player-7", "old", "");
        world.set("old", "hp 71");
        app.snapshot("old").await.expect(201);
        world.drop_peer_reported("old", LeaveAt::Drop);
        all_delivered(&world).await;
        world.join_in("lobby", "player-7", "new", "");
        all_delivered(&world).await;
        if scope == "room" {
            until_a_job_waits(&world).await;
            world.clock.advance(Duration::from_secs(130));
        }
        until_jobs_are_done(&world).await;
        let (outcome, problem, updates) = match scope {
            "room" => ("gave-up", json!("nothing-saved"), 0),
            _ => ("restored", Value::Null, 1),
        };
        let expected = json!(["restore", "new", outcome, problem]);
        assert_eq!(rows(&world).await, [expected], "{scope}");
        let sent = vec![json!({"metadata": "hp 71"}); updates];
        assert_eq!(world.updates(), sent, "{scope}");
    }
}

/// Many jobs wait for drops: requests are answered as ever, and once the drops are reported, every
/// player gets their state.
#[tokio::test]
async fn a_whole_room_that_dropped_is_restored_and_starves_nobody() {
    const PLAYERS: usize = 60;
    let (world, app) = world("dropped").await;
    let player = |index: usize| format!("player-{index}");
    for index in 0..PLAYERS {
        world.join(&player(index), &format!("old-{index}"), "");
    }
    world.clock.advance(Duration::from_secs(1));
    for index in 0..PLAYERS {
        world.set(&format!("old-{index}"), "hp 71");
    }
    app.snapshot_room().await.expect(200);
    for index in 0..PLAYERS {
        world.drop_peer_reported(&format!("old-{index}"), LeaveAt::GhostEnd);
    }
    for index in 0..PLAYERS {
        world.join(&player(index), &format!("new-{index}"), "");
    }
    all_delivered(&world).await;
    let pool = world.database.pool().await;
    assert_eq!(jobs(&pool).await, 60);
    let claims = join_all((0..40).map(async |index| {
        let path = format!("/v1/users/{}/resume", player(index));
        app.post_json(&path, &json!({"claimed_by": "server-1"}))
            .await
    }))
    .await;
    for claim in claims {
        claim.expect(200);
    }
    world.clock.advance(Duration::from_secs(61));
    let restored = "SELECT count(*) FROM resumes WHERE kind = 'restore' AND outcome = 'restored'";
    wait::until("every player has their state", async || {
        let restored: i64 = sqlx::query_scalar(restored).fetch_one(&pool).await.unwrap();
        restored == 60
    })
    .await;
    assert_eq!(world.updates(), vec![json!({"metadata": "hp 71"}); PLAYERS]);
    assert_eq!(jobs(&pool).await, 0);
    let newest: Value = app.resume("player-7").await.expect(200).json();
    assert_eq!(newest["peer_id"], "new-7");
    assert_eq!(newest["room_id"], ROOM);
}
