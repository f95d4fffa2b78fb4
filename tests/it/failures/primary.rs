//! Answers come from a writable primary with a current schema, or not at all.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rejoin::domain::PartitionPeriod;
use rejoin::store::{PartitionStep, Store, StoreConfig, StoreError, UnavailableReason};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};

use super::{backends, with_application_name};
use crate::support::postgres::{self, Database};
use crate::support::store::{new_user, resume_query};
use crate::support::wait::until;
use crate::support::webhooks::{join_event, send_event};
use crate::support::world::{Setup, World};

async fn execute(pool: &PgPool, sql: &str) {
    sqlx::query(AssertSqlSafe(sql.to_owned()))
        .execute(pool)
        .await
        .unwrap();
}

/// Demotes the database to read-only, as a switchover does whose old primary stays reachable.
async fn set_read_only(pool: &PgPool, read_only: bool) {
    let (name,): (String,) = sqlx::query_as("SELECT current_database()::text")
        .fetch_one(pool)
        .await
        .unwrap();
    let mode = if read_only { "on" } else { "off" };
    execute(
        pool,
        &format!("ALTER DATABASE {name} SET default_transaction_read_only = {mode}"),
    )
    .await;
}

async fn terminate_backends(pool: &PgPool) {
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND application_name = 'rejoin'";
    execute(pool, sql).await;
    until("they are gone", async || {
        backends(pool, "application_name = 'rejoin'").await == 0
    })
    .await;
}

#[tokio::test]
async fn a_read_only_server_answers_nobody_and_is_not_ready() {
    let world = World::new().await;
    let setup = Setup {
        database_url: Some(with_application_name(world.database.url())),
        ..Setup::with_webhooks()
    };
    let app = world.replica(setup).await;
    world.join("player-7", "peer-1", "saved");
    app.snapshot("peer-1").await.expect(201);
    let pool = world.database.pool().await;
    set_read_only(&pool, true).await;
    terminate_backends(&pool).await;
    for path in [
        "/health/ready",
        "/v1/users/player-7/resume",
        "/v1/users/player-7/snapshots",
        "/v1/users/player-7/snapshots?at=2026-12-01T12:00:00Z",
    ] {
        let answer = app.get(path).await.expect(503);
        assert_eq!(answer.code(), "database-unavailable", "{path}");
        let detail = answer.json()["detail"].clone();
        assert_eq!(
            detail, "The database server is read-only. Try again shortly.",
            "{path}"
        );
    }
    // Unchanged, so that nothing would have to be written.
    app.snapshot("peer-1").await.expect(503);
    send_event(&app, &join_event("peer-1", 0, "saved"))
        .await
        .expect(503);

    set_read_only(&pool, false).await;
    let start = Instant::now();
    app.get("/health/ready").await.expect(200);
    assert_eq!(app.resumed_metadata("player-7").await, "saved");
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_connection_whose_server_was_demoted_says_so() {
    let database = postgres::database().await;
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    let ask = "SELECT rejoin_require_primary()";
    let answer: bool = sqlx::query_scalar(ask)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert!(answer);
    sqlx::query("SET default_transaction_read_only = on")
        .execute(&mut connection)
        .await
        .unwrap();
    let error = sqlx::query(ask).execute(&mut connection).await.unwrap_err();
    let code = error.as_database_error().unwrap().code().unwrap();
    assert_eq!(code, "25006");
}

#[test]
fn every_statement_that_only_reads_asks_for_the_primary() {
    // Their answers go to nobody: they are followed by a write, or come after one.
    const BESIDE_A_WRITE: [&str; 2] = ["newest.repeats, newest.found", "FROM resumes"];
    // What is locked or changed has to be on a primary.
    const WRITES: [&str; 4] = ["INSERT ", "UPDATE", "DELETE ", "rejoin_delete_old_resumes"];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".sqlx");
    let mut reading = 0;
    for file in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        let statement: serde_json::Value = serde_json::from_str(&text).unwrap();
        let sql = statement["query"].as_str().unwrap();
        let lines = sql.lines().filter(|line| !line.starts_with("--"));
        let code = lines.collect::<Vec<_>>().join("\n");
        if !code.contains("FROM ") || WRITES.iter().any(|word| code.contains(word)) {
            continue;
        }
        let asks = code.contains("rejoin_require_primary()");
        assert!(
            asks || BESIDE_A_WRITE.iter().any(|part| code.contains(part)),
            "{code}"
        );
        reading += usize::from(asks);
    }
    assert!(reading > 9, "{reading}");
}

fn store(database: &Database) -> Store {
    Store::new(database.url().parse().unwrap(), &StoreConfig::default())
}

#[tokio::test]
async fn a_current_schema_is_not_written_and_an_older_one_is_not_ready() {
    let database = postgres::database().await;
    let pool = database.pool().await;
    set_read_only(&pool, true).await;
    store(&database).migrate().await.unwrap();
    set_read_only(&pool, false).await;
    store(&database).ping().await.unwrap();

    execute(
        &pool,
        "DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)",
    )
    .await;
    let missing = store(&database).ping().await.unwrap_err();
    assert!(
        matches!(&missing, StoreError::Unavailable(UnavailableReason::SchemaOutdated(migration))
            if migration.starts_with("2026")),
        "{missing:?}"
    );

    let empty = postgres::empty_database().await;
    let missing = store(&empty).ping().await.unwrap_err();
    let line = missing.with_sources().to_string();
    assert!(line.contains("20261123000001"), "{line}");
}

#[tokio::test]
async fn a_waiter_takes_a_connection_that_is_released() {
    // Fewer than the statements that run at once below.
    const LIMIT: usize = 2;
    let world = World::new().await;
    let pool = world.database.pool().await;
    let role = format!("limited_{}", uuid::Uuid::new_v4().simple());
    execute(
        &pool,
        &format!("CREATE ROLE {role} LOGIN SUPERUSER PASSWORD 'limited' CONNECTION LIMIT {LIMIT}"),
    )
    .await;
    // The limit does not bind superusers, whose rights the role needs only to own everything.
    execute(&pool, &format!("ALTER ROLE {role} NOSUPERUSER")).await;
    for what in [
        "ALL ON SCHEMA public",
        "ALL ON ALL TABLES IN SCHEMA public",
        "ALL ON ALL FUNCTIONS IN SCHEMA public",
    ] {
        execute(&pool, &format!("GRANT {what} TO {role}")).await;
    }
    let mut url = url::Url::parse(world.database.url()).unwrap();
    url.set_username(&role).unwrap();
    url.set_password(Some("limited")).unwrap();
    let app = world
        .replica(Setup {
            database_url: Some(url.into()),
            ..Setup::with_webhooks()
        })
        .await;
    world.join("player-7", "peer-1", "saved");
    app.snapshot("peer-1").await.expect(201);
    let join = join_event("peer-1", 0, "saved");
    let ask_for_everything_at_once = async || {
        let answers = tokio::join!(
            app.resume("player-7"),
            app.history("player-7"),
            app.get("/health/ready"),
            app.snapshot("peer-1"),
            send_event(&app, &join),
        );
        for answer in <[_; 5]>::from(answers) {
            assert!(answer.status.is_success(), "{}", answer.text);
        }
    };
    for _ in 0..20 {
        ask_for_everything_at_once().await;
    }
    // From now on each new connection is refused for good.
    execute(&pool, &format!("ALTER ROLE {role} NOLOGIN")).await;
    join_all((0..40).map(|_| ask_for_everything_at_once())).await;
    drop(app);
    terminate_backends(&pool).await;
    execute(&pool, &format!("DROP OWNED BY {role}")).await;
    execute(&pool, &format!("DROP ROLE {role}")).await;
}

#[tokio::test]
async fn partitions_that_wait_for_a_lock_are_given_up_once_and_cost_no_connection() {
    let database = postgres::database().await;
    let pool = database.pool().await;
    let store = store(&database);
    let user = new_user();
    let mut locked = pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE peers")
        .execute(&mut *locked)
        .await
        .unwrap();
    // While the resume waits, the ping opens another connection.
    let ping = async {
        until("it waits", async || store.connections().1 == 1).await;
        let ping = store.ping().await;
        locked.rollback().await.unwrap();
        ping
    };
    let (state, ping) = tokio::join!(store.resume(resume_query(&user)), ping);
    assert!(ping.is_ok() && state.is_ok());
    let open = store.connections().0;
    assert!(open > 1);
    let mut reader = pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE snapshots IN ACCESS SHARE MODE")
        .execute(&mut *reader)
        .await
        .unwrap();
    let month = chrono::DateTime::parse_from_rfc3339("2031-05-17T22:00:00Z").unwrap();
    let step = store.make_partition(PartitionPeriod::Month, month.to_utc().into());
    assert_eq!(step.await.unwrap(), PartitionStep::InUse);
    assert_eq!(store.connections().0, open);
}

#[tokio::test]
async fn partitions_begin_at_midnight_in_utc_whatever_the_session_says() {
    let database = postgres::database().await;
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    for sql in [
        "SET timezone = 'Asia/Tehran'",
        "SET datestyle = 'SQL, DMY'",
        "SELECT rejoin_make_partition('month', '2031-05-17T22:00:00Z', 1) FROM generate_series(1, 2)",
    ] {
        sqlx::query(sql).execute(&mut connection).await.unwrap();
    }
    let bounds: Vec<String> = sqlx::query_scalar(
        "SELECT pg_get_expr(relpartbound, oid) FROM pg_class
         WHERE relname IN ('snapshots_2031_05', 'snapshots_2031_06') ORDER BY relname",
    )
    .fetch_all(
        &mut PgConnection::connect(&format!("{}", in_utc(database.url())))
            .await
            .unwrap(),
    )
    .await
    .unwrap();
    assert_eq!(
        bounds,
        [
            "FOR VALUES FROM ('2031-05-01 00:00:00+00') TO ('2031-06-01 00:00:00+00')",
            "FOR VALUES FROM ('2031-06-01 00:00:00+00') TO ('2031-07-01 00:00:00+00')",
        ]
    );
}

/// The URL of a database whose sessions use UTC.
fn in_utc(url: &str) -> url::Url {
    let mut url = url::Url::parse(url).unwrap();
    url.query_pairs_mut()
        .append_pair("options[timezone]", "UTC");
    url
}
