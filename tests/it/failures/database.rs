//! The database goes away, stops answering, loses packets or is locked; then it works again.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rejoin::store::{Store, StoreConfig};
use sqlx::{AssertSqlSafe, Executor};
use tokio::time::sleep;

use super::{
    all_succeed, all_unavailable, backends, every_call, open_all_connections, replica_behind_proxy,
    with_application_name,
};
use crate::support::proxy::Proxy;
use crate::support::store::{new_user, resume_query};
use crate::support::wait::until;
use crate::support::webhooks::{join_event, leave_event, send_event};
use crate::support::world::{Replica, Setup, World};

/// How long a client waits at most for the answer that the database is unavailable.
const BOUND: Duration = Duration::from_secs(8);

/// A world whose replica reaches the database through a proxy, and has a saved state.
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
async fn clients_do_not_notice_that_idle_connections_were_closed() {
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
        // Each kind of request is once the first after that.
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

/// Sends calls in four waves, and checks that each is answered in time, as unavailable.
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
            // Pages of history wait for a permit behind those that hang.
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

/// Checks that every user gets their own state, whatever a connection was used for before.
async fn every_user_gets_their_own_state(app: &Replica) {
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
async fn stalled_and_healed() {
    let (world, app, mut proxy) = behind_a_proxy().await;
    eight_players(&world, &app).await;
    open_all_connections(&app).await;
    proxy.stall();
    waves(&app).await;
    app.get("/health/live").await.expect(200);
    // The delayed answers arrive now, on connections that must not be used any more.
    proxy.heal();
    every_user_gets_their_own_state(&app).await;
    all_succeed(every_call(&app).await);
}

#[tokio::test]
async fn connections_whose_packets_are_lost_are_replaced() {
    let (world, app, mut proxy) = behind_a_proxy().await;
    eight_players(&world, &app).await;
    let pool = world.database.pool().await;
    // On a busy machine, requests may share fewer.
    until("each call has a connection", async || {
        open_all_connections(&app).await;
        backends(&pool, "true").await >= 4
    })
    .await;
    proxy.strand().await;
    let start = Instant::now();
    // The room has the same user: whichever of both is saved second would have a new connection.
    let (snapshot, resume, history, ready) = tokio::join!(
        app.snapshot("peer-1"),
        app.resume("player-7"),
        app.history("player-7"),
        app.get("/health/ready"),
    );
    all_unavailable([
        ("snapshot", snapshot),
        ("resume", resume),
        ("history", history),
        ("ready", ready),
    ]);
    assert!(start.elapsed() < BOUND, "{:?}", start.elapsed());
    // One failure of each kind is enough: the other connections of that time are not tried.
    let start = Instant::now();
    every_user_gets_their_own_state(&app).await;
    all_succeed(every_call(&app).await);
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn statements_that_wait_for_a_lock_are_cancelled() {
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
    // Postgres cancels the statements that nobody waits for, though the lock is still held.
    until("no statement waits", async || {
        backends(&pool, "wait_event_type = 'Lock'").await == 0
    })
    .await;
    lock.rollback().await.unwrap();
    app.snapshot("peer-1").await.expect(201);
    assert_eq!(app.resumed_metadata("player-7").await, "under lock");
}

#[tokio::test]
async fn a_connection_that_was_idle_for_long_is_not_used_again() {
    let world = World::new().await;
    let pool = world.database.pool().await;
    let config = StoreConfig {
        idle_timeout: Duration::from_millis(200),
        ..StoreConfig::default()
    };
    let store = Store::new(
        with_application_name(world.database.url()).parse().unwrap(),
        &config,
    );
    let backend = async || {
        store.resume(resume_query(&new_user())).await.unwrap();
        let query = "SELECT max(pid) FROM pg_stat_activity
                     WHERE datname = current_database() AND application_name = 'rejoin'";
        let pid: i32 = sqlx::query_scalar(query).fetch_one(&pool).await.unwrap();
        pid
    };
    let first = backend().await;
    assert_eq!(backend().await, first, "it is used again at once");
    sleep(Duration::from_millis(400)).await;
    backend().await;
    until("the first connection is closed", async || {
        backends(&pool, &format!("pid = {first}")).await == 0
    })
    .await;
}

/// What the server ends, by limits of its own or as it goes down, is an outage, for reads and writes alike.
#[tokio::test]
async fn what_the_server_ends_is_an_outage() {
    let (world, app) = World::with_app().await;
    let pool = world.database.pool().await;
    world.join("player-7", "peer-1", "0");
    app.snapshot("peer-1").await.expect(201);
    let raise = async |code: &str| {
        let statements = format!(
            "CREATE OR REPLACE FUNCTION raise() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE 'ended' USING ERRCODE = '{code}'; END $$;
             CREATE OR REPLACE FUNCTION rejoin_require_primary() RETURNS boolean LANGUAGE plpgsql STABLE AS
             $$ BEGIN RAISE 'ended' USING ERRCODE = '{code}'; END $$;
             CREATE OR REPLACE TRIGGER raise BEFORE INSERT ON snapshots
             FOR EACH ROW EXECUTE FUNCTION raise()"
        );
        pool.execute(AssertSqlSafe(statements)).await.unwrap();
    };
    for code in [
        "57014", "25P03", "25P04", "25006", "40001", "53200", "57P01", "08006",
    ] {
        raise(code).await;
        world.set("peer-1", code);
        let (save, resume, history) = tokio::join!(
            app.snapshot("peer-1"),
            app.resume("player-7"),
            app.history("player-7"),
        );
        for answer in [save, resume, history] {
            assert_eq!(answer.status, 503, "{code}: {}", answer.text);
            assert_eq!(answer.code(), "database-unavailable", "{code}");
        }
    }
    // A division by zero is none.
    raise("22012").await;
    world.set("peer-1", "last");
    app.snapshot("peer-1").await.expect(500);
    app.resume("player-7").await.expect(500);
}

/// A replica vanishes in the middle of a transaction, without a word to the server.
#[tokio::test]
async fn a_transaction_whose_replica_has_vanished_locks_nobody_out() {
    let world = World::new().await;
    let pool = world.database.pool().await;
    let (proxy, url) = Proxy::before(&with_application_name(world.database.url()));
    let vanishing = world
        .replica(Setup {
            database_url: Some(url),
            ..Setup::with_webhooks()
        })
        .await;
    let other = world.replica(Setup::with_webhooks()).await;
    let join = join_event("peer-1", 0, "saved");
    send_event(&vanishing, &join).await.expect(200);
    // The second statement of the transaction takes long enough for the network to fail meanwhile.
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN PERFORM pg_sleep(1); RETURN NULL; END $$;
                CREATE TRIGGER slow AFTER UPDATE ON restore_jobs
                FOR EACH STATEMENT EXECUTE FUNCTION slow()";
    pool.execute(AssertSqlSafe(slow)).await.unwrap();
    let leave = leave_event("peer-1", 0, 10, "websocket closed", "changed");
    let lost = tokio::spawn({
        let leave = leave.clone();
        async move { send_event(&vanishing, &leave).await }
    });
    until("the transaction is under way", async || {
        backends(&pool, "wait_event = 'PgSleep'").await == 1
    })
    .await;
    proxy.stall();
    lost.await.unwrap().expect(503);
    until("the other replica may write the peer", async || {
        send_event(&other, &leave).await.status == 200
    })
    .await;
    assert_eq!(other.resumed_metadata("player-7").await, "changed");
}
