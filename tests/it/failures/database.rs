//! The database goes away, freezes, loses packets or is locked; then it is back.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::sleep;

use super::{
    all_succeed, all_unavailable, backends, every_call, open_all_connections, replica_behind_proxy,
};
use crate::support::proxy::Proxy;
use crate::support::wait::until;
use crate::support::world::{Replica, World};

/// The longest that a client waits for the news that the database does not answer.
const BOUND: Duration = Duration::from_secs(8);

/// A world whose replica reaches the database through a proxy, with a state that was saved.
async fn behind_a_proxy() -> (World, Replica, Proxy) {
    let world = World::new().await;
    let (app, proxy) = replica_behind_proxy(&world).await;
    world.join("player-7", "peer-1", "saved before");
    app.snapshot("peer-1").await.expect(201);
    (world, app, proxy)
}

#[tokio::test]
async fn cut_and_healed_without_a_restart() {
    let (world, app, mut proxy) = behind_a_proxy().await;
    open_all_connections(&app).await;
    for round in ["first", "second"] {
        proxy.cut().await;
        world.set("peer-1", round);
        let start = Instant::now();
        all_unavailable(every_call(&app).await);
        assert!(start.elapsed() < BOUND, "{:?}", start.elapsed());
        app.get("/health/live").await.expect(200);

        proxy.heal();
        app.snapshot("peer-1").await.expect(201);
        assert_eq!(app.resumed_metadata("player-7").await, round);
        all_succeed(every_call(&app).await);
    }
    let history = app.history("player-7").await.expect(200);
    assert_eq!(
        history.column("metadata_raw"),
        ["second", "first", "saved before"]
    );
}

#[tokio::test]
async fn a_database_that_restarts_under_idle_connections_is_not_noticed() {
    let (world, app, _proxy) = behind_a_proxy().await;
    let pool = world.database.pool().await;
    for round in 0..5 {
        open_all_connections(&app).await;
        let ended: i64 = sqlx::query_scalar(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'rejoin'",
        )
        .fetch_one(&pool)
        .await
        .unwrap();
        assert!(ended >= 4, "{ended} connections");
        until("the connections end", async || {
            backends(&pool, "true").await == 0
        })
        .await;
        world.set("peer-1", &format!("round {round}"));
        // Each kind is the very next request once.
        match round {
            0 => drop(app.snapshot("peer-1").await.expect(201)),
            1 => drop(app.snapshot_room().await.expect(200)),
            2 => drop(app.resume("player-7").await.expect(200)),
            3 => drop(app.history("player-7").await.expect(200)),
            _ => drop(app.get("/health/ready").await.expect(200)),
        }
        all_succeed(every_call(&app).await);
        assert_eq!(
            app.resumed_metadata("player-7").await,
            format!("round {round}")
        );
    }
}

/// Calls that come in one after another, each answered in time that the database is away.
async fn waves(app: &Replica) {
    join_all([0, 100, 1_000, 3_000].map(async |after| {
        sleep(Duration::from_millis(after)).await;
        let start = Instant::now();
        for (call, answer) in every_call(app).await {
            assert_eq!(
                (answer.status.as_u16(), answer.header("retry-after")),
                (503, "1"),
                "{call}: {}",
                answer.text
            );
            // Pages of history wait for their turn behind those that hang.
            let full = call == "history" && after > 0 && answer.code() == "overloaded";
            assert!(
                full || answer.code() == "database-unavailable",
                "{call}: {}",
                answer.text
            );
        }
        assert!(
            start.elapsed() < BOUND,
            "{:?} for those after {after} ms",
            start.elapsed()
        );
    }))
    .await;
}

/// Every user gets their own state, whatever was asked on a connection before.
async fn no_answer_is_anothers(app: &Replica) {
    for _ in 0..5 {
        join_all((0..8).map(async |player| {
            assert_eq!(
                app.resumed_metadata(&format!("player-{player}")).await,
                format!("state {player}")
            );
            let history = app
                .history(&format!("player-{player}"))
                .await
                .expect(200)
                .json();
            assert_eq!(
                history["snapshots"][0]["user_id"],
                format!("player-{player}")
            );
        }))
        .await;
    }
}

async fn eight_players(world: &World, app: &Replica) {
    for player in (0..8).filter(|player| *player != 7) {
        world.join(
            &format!("player-{player}"),
            &format!("of-{player}"),
            &format!("state {player}"),
        );
    }
    world.set("peer-1", "state 7");
    app.snapshot_room().await.expect(200);
}

#[tokio::test]
async fn frozen_and_healed() {
    let (world, app, mut proxy) = behind_a_proxy().await;
    eight_players(&world, &app).await;
    open_all_connections(&app).await;
    proxy.stall();
    waves(&app).await;
    app.get("/health/live").await.expect(200);
    // What was held back arrives now, on connections that nobody must use any more.
    proxy.heal();
    no_answer_is_anothers(&app).await;
    all_succeed(every_call(&app).await);
}

#[tokio::test]
async fn connections_whose_packets_are_lost_are_replaced() {
    let (world, app, mut proxy) = behind_a_proxy().await;
    eight_players(&world, &app).await;
    open_all_connections(&app).await;
    proxy.strand().await;
    let start = Instant::now();
    all_unavailable(every_call(&app).await);
    assert!(start.elapsed() < BOUND, "{:?}", start.elapsed());
    // One failure of each kind is enough: nobody tries the other connections of that time.
    let start = Instant::now();
    no_answer_is_anothers(&app).await;
    all_succeed(every_call(&app).await);
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn a_locked_table_piles_up_nothing_in_the_database() {
    let (world, app, _proxy) = behind_a_proxy().await;
    let pool = world.database.pool().await;
    let mut lock = pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE peers, snapshots IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *lock)
        .await
        .unwrap();
    world.set("peer-1", "under lock");
    let start = Instant::now();
    let (snapshot, resume, history) = tokio::join!(
        app.snapshot("peer-1"),
        app.resume("player-7"),
        app.history("player-7")
    );
    for answer in [snapshot, resume, history] {
        assert_eq!(answer.expect(503).code(), "database-unavailable");
    }
    assert!(start.elapsed() < BOUND, "{:?}", start.elapsed());
    app.get("/health/ready").await.expect(200);
    // The server gives up what nobody waits for, though the lock is still held.
    until("no statement waits", async || {
        backends(&pool, "wait_event_type = 'Lock'").await == 0
    })
    .await;
    lock.rollback().await.unwrap();
    app.snapshot("peer-1").await.expect(201);
    assert_eq!(app.resumed_metadata("player-7").await, "under lock");
}
