//! A user is erased, as docs/operations.md says, while the service writes of them.

use std::time::Duration;

use hms_sim::{Fault, FaultRule, Operation};
use rejoin::config::{EventArgs, ForwardArgs};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction, raw_sql};
use tokio::time::sleep;

use crate::support::scripted::{Answer as ScriptedAnswer, Scripted};
use crate::support::wait::until;
use crate::support::webhooks::{join_event, leave_event, send_event};
use crate::support::world::{ROOM, Replica, Setup, World};

const OPERATIONS: &str = include_str!("../../../docs/operations.md");
/// The tables that hold anything of a user.
const TABLES: [&str; 7] = [
    "peers",
    "snapshots",
    "resumes",
    "restore_jobs",
    "fetch_jobs",
    "announced_states",
    "forwards",
];

/// The documented statements that erase `player-7`, without their `BEGIN` and `COMMIT`.
fn statements() -> Vec<String> {
    let section = OPERATIONS.split_once("## Erasing a user").unwrap().1;
    let sql = section.split_once("```sql").unwrap().1;
    let sql = sql.split_once("```").unwrap().0;
    let statements = sql.split(';').map(|statement| statement.trim().to_owned());
    let statements: Vec<String> = statements
        .filter(|statement| statement.starts_with("DELETE"))
        .collect();
    assert_eq!(statements.len(), TABLES.len());
    statements
}

async fn execute(erasure: &mut Transaction<'static, Postgres>, statement: &str) {
    raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(&mut **erasure)
        .await
        .unwrap();
}

async fn assert_nothing_is_left(pool: &PgPool) {
    for table in TABLES {
        let sql = format!("SELECT count(*) FROM {table} WHERE user_id = 'player-7'");
        let rows: i64 = sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_one(pool)
            .await
            .unwrap();
        assert_eq!(rows, 0, "{table}");
    }
}

async fn until_so_many_wait(pool: &PgPool, count: usize) {
    let sql = "SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until("the service waits for the erasure", async || {
        let waiting: i64 = sqlx::query_scalar(sql).fetch_one(pool).await.unwrap();
        usize::try_from(waiting) == Ok(count)
    })
    .await;
}

/// A player with a saved state, known to both replicas, and of whom `old` was just observed.
async fn saved() -> (World, [Replica; 2], PgPool) {
    let world = World::new().await;
    let replicas = [
        world.replica(Setup::with_webhooks()).await,
        world.replica(Setup::with_webhooks()).await,
    ];
    world.join("player-7", "old", "");
    world.set("old", "hp 71");
    for replica in &replicas {
        let answer = replica.snapshot("old").await;
        assert!(answer.status.is_success(), "{}", answer.text);
    }
    let pool = world.database.pool().await;
    (world, replicas, pool)
}

#[tokio::test]
async fn what_is_being_saved_meanwhile_is_not_brought_back() {
    let (world, replicas, pool) = saved().await;
    world.set("old", "hp 72");
    // At whichever of its statements the erasure is, saves of both replicas begin.
    for reached in 1..=TABLES.len() {
        let mut erasure = pool.begin().await.unwrap();
        for statement in &statements()[..reached] {
            execute(&mut erasure, statement).await;
        }
        let [one, other] = replicas.clone();
        let leave = leave_event("old", 0, 9, "websocket closed", "hp 73");
        let saves = [
            tokio::spawn(async move { one.snapshot("old").await }),
            tokio::spawn(async move { send_event(&other, &leave).await }),
        ];
        until_so_many_wait(&pool, saves.len()).await;
        for statement in &statements()[reached..] {
            execute(&mut erasure, statement).await;
        }
        erasure.commit().await.unwrap();
        for save in saves {
            let answer = save.await.unwrap();
            assert!(answer.status.is_success(), "{}", answer.text);
        }
        assert_nothing_is_left(&pool).await;
        assert_eq!(replicas[0].resume("player-7").await.status, 404);
        // Observed again, they start anew.
        send_event(&replicas[0], &join_event("old", 20, "hp 1"))
            .await
            .expect(200);
        assert_eq!(replicas[1].resumed_metadata("player-7").await, "hp 1");
    }
}

/// A save waits for a lock as long as a batch does, and then apart. The erasure ends at any time
/// around that.
#[tokio::test]
async fn what_is_being_saved_is_not_brought_back_whenever_the_erasure_ends() {
    let (world, replicas, pool) = saved().await;
    for millis in (20..60).step_by(2) {
        let metadata = format!("hp {millis}");
        world.set("old", &metadata);
        let mut erasure = pool.begin().await.unwrap();
        for statement in &statements() {
            execute(&mut erasure, statement).await;
        }
        let saves = replicas
            .clone()
            .map(|replica| tokio::spawn(async move { replica.snapshot("old").await }));
        until_so_many_wait(&pool, saves.len()).await;
        sleep(Duration::from_millis(millis)).await;
        erasure.commit().await.unwrap();
        for save in saves {
            let answer = save.await.unwrap();
            assert!(answer.status.is_success(), "{}", answer.text);
        }
        assert_nothing_is_left(&pool).await;
        for replica in &replicas {
            let answer = replica.snapshot("old").await;
            assert!(answer.status.is_success(), "{}", answer.text);
        }
    }
}

/// As if the event had come just before: it was stored, erased, and is passed on.
#[tokio::test]
async fn an_event_of_whoever_is_being_erased_is_passed_on() {
    let (world, _, pool) = saved().await;
    let endpoint = Scripted::answers([ScriptedAnswer::ok("")]).await;
    let url = format!("http://127.0.0.1:{}/", endpoint.port);
    let setup = Setup {
        forwards: ForwardArgs::to(&url),
        ..Setup::with_webhooks()
    };
    let app = world.replica(setup).await;
    // For less time than a batch waits for a lock, and for more.
    for (number, millis) in (1..).zip([0, 20, 60, 200]) {
        let joined = join_event("old", 0, "hp 72");
        send_event(&app, &joined).await.expect(200);
        // Or noting that this one was accepted waits too.
        until_nothing_is_left_to_pass_on(&pool).await;
        let mut erasure = pool.begin().await.unwrap();
        for statement in &statements() {
            execute(&mut erasure, statement).await;
        }
        let leave = leave_event("old", 0, 9, "websocket closed", "hp 73");
        let sent = leave.to_string();
        let app = app.clone();
        let save = tokio::spawn(async move { send_event(&app, &leave).await });
        until_so_many_wait(&pool, 1).await;
        sleep(Duration::from_millis(millis)).await;
        erasure.commit().await.unwrap();
        save.await.unwrap().expect(200);
        until("the event is passed on", async || {
            let received = endpoint.received();
            received
                .iter()
                .filter(|received| received.body == sent)
                .count()
                == number
        })
        .await;
        until_nothing_is_left_to_pass_on(&pool).await;
    }
}

/// What is saved meanwhile announces nothing of them, and what waits to be sent is erased.
#[tokio::test]
async fn own_events_of_whoever_is_erased_are_erased() {
    let (world, _, pool) = saved().await;
    // No attempt ends meanwhile: noting that would wait for the erasure too.
    let endpoint = Scripted::with(|_| ScriptedAnswer::hang()).await;
    let setup = Setup {
        forwards: ForwardArgs::to(&format!("http://127.0.0.1:{}/", endpoint.port)),
        events: EventArgs::on(true),
        ..Setup::default()
    };
    let app = world.replica(setup).await;
    for (round, reached) in (1..=TABLES.len()).enumerate() {
        world.set("old", &format!("announced {round}"));
        app.snapshot("old").await.expect(201);
        let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM forwards")
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(waiting, 1, "it is announced");
        world.set("old", &format!("erased {round}"));
        let mut erasure = pool.begin().await.unwrap();
        for statement in &statements()[..reached] {
            execute(&mut erasure, statement).await;
        }
        let save = tokio::spawn({
            let app = app.clone();
            async move { app.snapshot("old").await }
        });
        until_so_many_wait(&pool, 1).await;
        for statement in &statements()[reached..] {
            execute(&mut erasure, statement).await;
        }
        erasure.commit().await.unwrap();
        assert!(save.await.unwrap().status.is_success());
        assert_nothing_is_left(&pool).await;
    }
}

async fn until_nothing_is_left_to_pass_on(pool: &PgPool) {
    until("nothing is left to pass on", async || {
        let left = "SELECT count(*) = 0 FROM forwards";
        sqlx::query_scalar(left).fetch_one(pool).await.unwrap()
    })
    .await;
}

#[tokio::test]
async fn a_claim_meanwhile_leaves_nothing() {
    let (_world, [app, _], pool) = saved().await;
    let mut erasure = pool.begin().await.unwrap();
    for statement in statements() {
        execute(&mut erasure, &statement).await;
    }
    let claim = tokio::spawn({
        let app = app.clone();
        let claim = json!({"claimed_by": "server-1"});
        async move { app.post_json("/v1/users/player-7/resume", &claim).await }
    });
    until_so_many_wait(&pool, 1).await;
    erasure.commit().await.unwrap();
    let answer = claim.await.unwrap().expect(404);
    assert_eq!(answer.code(), "no-saved-metadata");
    assert_nothing_is_left(&pool).await;
}

#[tokio::test]
async fn the_outcome_of_a_restore_that_was_under_way_is_not_recorded() {
    let (world, [app, _], pool) = saved().await;
    world.join("player-7", "new", "");
    let slow = Fault::DelayMs(500);
    world
        .sim
        .set_faults([FaultRule::always(Operation::Update, slow)]);
    let restore = tokio::spawn({
        let app = app.clone();
        let to = json!({"room_id": ROOM, "peer_id": "new"});
        async move { app.post_json("/v1/users/player-7/resume", &to).await }
    });
    until("the state is being sent", async || {
        sqlx::query_scalar("SELECT count(*) = 1 FROM resumes WHERE outcome = 'sending'")
            .fetch_one(&pool)
            .await
            .unwrap()
    })
    .await;
    let mut erasure = pool.begin().await.unwrap();
    for statement in statements() {
        execute(&mut erasure, &statement).await;
    }
    erasure.commit().await.unwrap();
    restore.await.unwrap().expect(200);
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM resumes")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(rows, 0);
}
