//! Work that waits starves no other work: locked rows, slow reads, bulk, rows that cannot be decoded.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::{PgPool, Postgres, Transaction};

use crate::support::wait::until;
use crate::support::webhooks::{join_event, leave_event, send_event};
use crate::support::world::{Replica, Setup, World};

/// What a webhook of another user may take while one row is locked. On a busy machine, a debug
/// build needs more than the 100 ms that are wanted of a server.
const BOUND: Duration = Duration::from_millis(500);

async fn with_webhooks() -> (World, Replica, PgPool) {
    let world = World::new().await;
    let app = world.replica(Setup::with_webhooks()).await;
    let pool = world.database.pool().await;
    (world, app, pool)
}

/// The same event of another user, whose peer has a similar id.
fn of_user(number: usize, mut event: Value) -> Value {
    event["data"]["user_id"] = format!("player-{number}").into();
    event["data"]["peer_id"] = format!("peer-{number}").into();
    event
}

async fn lock(pool: &PgPool, statement: &'static str) -> Transaction<'static, Postgres> {
    let mut lock = pool.begin().await.unwrap();
    sqlx::query(statement).execute(&mut *lock).await.unwrap();
    lock
}

async fn waiting_for_locks(pool: &PgPool) -> i64 {
    let sql = "SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND wait_event_type = 'Lock'";
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn a_locked_peer_delays_nobody_else() {
    const USERS: usize = 40;
    let (_world, app, pool) = with_webhooks().await;
    join_all((0..USERS).map(async |user| {
        let join = of_user(user, join_event("any", 0, "saved"));
        send_event(&app, &join).await.expect(200);
    }))
    .await;
    let lock = lock(
        &pool,
        "SELECT FROM peers WHERE user_id = 'player-0' FOR UPDATE",
    )
    .await;
    let leave = |user, second| {
        let leave = leave_event("any", 0, second, "websocket closed", "changed");
        of_user(user, leave)
    };
    let locked = tokio::spawn({
        let (app, first, second) = (app.clone(), leave(0, 10), leave(0, 11));
        async move {
            let (first, second) = tokio::join!(send_event(&app, &first), send_event(&app, &second));
            [first, second]
        }
    });
    let others = join_all((1..USERS).map(async |user| {
        let start = Instant::now();
        send_event(&app, &leave(user, 10)).await.expect(200);
        start.elapsed()
    }))
    .await;
    let slowest = others.into_iter().max().unwrap();
    println!("the slowest of the others: {slowest:?}");
    assert!(slowest < BOUND, "{slowest:?}");
    until("the locked user alone waits", async || {
        waiting_for_locks(&pool).await == 1
    })
    .await;
    assert!(!locked.is_finished());
    lock.commit().await.unwrap();
    for answer in locked.await.unwrap() {
        answer.expect(200);
    }
}

#[tokio::test]
async fn slow_history_refuses_neither_claims_nor_ends_of_sessions() {
    let (world, app, pool) = with_webhooks().await;
    world.join("player-7", "peer-1", "saved");
    app.snapshot("peer-1").await.expect(201);
    let lock = lock(&pool, "LOCK TABLE snapshots IN ACCESS EXCLUSIVE MODE").await;
    let histories: Vec<_> = (0..4)
        .map(|_| {
            let app = app.clone();
            tokio::spawn(async move { app.history("player-7").await })
        })
        .collect();
    until("histories wait", async || {
        waiting_for_locks(&pool).await == 2
    })
    .await;
    let mut end = join_event("any", 0, "");
    end["type"] = "session.close.success".into();
    send_event(&app, &end).await.expect(200);
    let claim = json!({"claimed_by": "server-1"});
    app.post_json("/v1/users/player-7/resume", &claim)
        .await
        .expect(200);
    lock.commit().await.unwrap();
    for history in histories {
        history.await.unwrap();
    }
}

#[tokio::test]
async fn a_row_that_cannot_be_decoded_fails_its_own_user_only() {
    const USERS: usize = 30;
    let (world, app, pool) = with_webhooks().await;
    for user in 0..USERS {
        world.join(&format!("player-{user}"), &format!("peer-{user}"), "saved");
    }
    app.snapshot_room().await.expect(200);
    sqlx::query(r"UPDATE peers SET metadata_raw = '\xff' WHERE user_id = 'player-3'")
        .execute(&pool)
        .await
        .unwrap();
    for _ in 0..3 {
        let answers = join_all((0..USERS * 4).map(async |number| {
            let user = number % USERS;
            (user, app.resume(&format!("player-{user}")).await)
        }))
        .await;
        for (user, answer) in answers {
            answer.expect(if user == 3 { 500 } else { 200 });
        }
    }
}

#[tokio::test]
async fn locked_peers_delay_no_reports_of_others_that_are_out_of_order() {
    const LOCKED: usize = 4;
    let (_world, app, pool) = with_webhooks().await;
    let late = |user| of_user(user, join_event("any", 5, "late"));
    for user in 0..=LOCKED {
        let newest = of_user(user, join_event("any", 10, "newest"));
        send_event(&app, &newest).await.expect(200);
    }
    let lock = lock(
        &pool,
        "SELECT FROM peers WHERE user_id <> 'player-4' FOR UPDATE",
    )
    .await;
    let locked: Vec<_> = (0..LOCKED)
        .map(|user| {
            let (app, late) = (app.clone(), late(user));
            tokio::spawn(async move { send_event(&app, &late).await })
        })
        .collect();
    until("the locked peers are waited for", async || {
        waiting_for_locks(&pool).await == 2
    })
    .await;
    let start = Instant::now();
    send_event(&app, &late(LOCKED)).await.expect(200);
    let elapsed = start.elapsed();
    assert!(elapsed < BOUND, "{elapsed:?}");
    lock.commit().await.unwrap();
    for answer in locked {
        answer.await.unwrap().expect(200);
    }
    let history = app.history("player-0").await.expect(200);
    assert_eq!(history.column("metadata_raw"), ["newest", "late"]);
}

#[tokio::test]
async fn bulk_never_takes_the_last_of_the_queue() {
    let world = World::new().await;
    let usual = Setup::with_webhooks();
    let app = world
        .replica(Setup {
            store: rejoin::store::StoreConfig {
                queue_capacity_kib: 16,
                ..usual.store.clone()
            },
            ..usual
        })
        .await;
    let pool = world.database.pool().await;
    for peer in 0..100 {
        world.join(&format!("player-{peer}"), &format!("peer-{peer}"), "saved");
    }
    let lock = lock(&pool, "LOCK TABLE peers IN ACCESS EXCLUSIVE MODE").await;
    let bulk = tokio::spawn({
        let app = app.clone();
        async move { app.snapshot_room().await }
    });
    until("bulk waits", async || waiting_for_locks(&pool).await > 0).await;
    let singles: Vec<_> = (200..210)
        .map(|user| {
            let (app, event) = (app.clone(), of_user(user, join_event("any", 0, "saved")));
            tokio::spawn(async move { send_event(&app, &event).await })
        })
        .collect();
    lock.commit().await.unwrap();
    for single in singles {
        single.await.unwrap().expect(200);
    }
    let bulk = bulk.await.unwrap().expect(200);
    assert_eq!(bulk.column("peer_id").len(), 100);
}

#[tokio::test]
async fn a_row_of_history_that_cannot_be_decoded_is_left_out() {
    let (world, app, pool) = with_webhooks().await;
    world.join("player-7", "peer-1", "0");
    app.snapshot("peer-1").await.expect(201);
    for metadata in ["1", "2"] {
        world.set("peer-1", metadata);
        app.snapshot("peer-1").await.expect(201);
    }
    sqlx::query(r"UPDATE snapshots SET metadata_raw = '\xff' WHERE metadata_raw = '1'")
        .execute(&pool)
        .await
        .unwrap();
    let history = app.history("player-7").await.expect(200);
    assert_eq!(history.column("metadata_raw"), ["2", "0"]);
    let page = app
        .get("/v1/users/player-7/snapshots?limit=2")
        .await
        .expect(200);
    assert_eq!(page.column("metadata_raw"), ["2"]);
    assert!(page.json()["next_cursor"].is_string(), "{}", page.text);
}
