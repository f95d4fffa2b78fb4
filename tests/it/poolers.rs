//! `PgBouncer` in front of the database: what works through it, and what is refused at the start.

use std::fs;
use std::path::Path;

use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::support::command::{rejoin, settings};
use crate::support::pgbouncer::{self, PgBouncer};
use crate::support::postgres::{self, Database};
use crate::support::program::{Program, Upstream};
use crate::support::scripted::{Answer, Scripted};
use crate::support::wait::until;
use crate::support::webhooks::{WEBHOOK_SECRET, send_webhooks};
use crate::support::world::{Replica, Setup, World};

/// From this version on, `PgBouncer` keeps prepared statements apart in transaction mode.
const KEEPS_STATEMENTS: (u32, u32) = (1, 21);

const REFUSAL: &str = "error: the database failed: the pooler in front of the database loses prepared statements between transactions: \
    let it pool sessions, or transactions with PgBouncer 1.21 or later and its max_prepared_statements above 0\n";

/// Settings with which `PgBouncer` loses prepared statements, whatever its version.
fn loses_statements() -> String {
    let setting = if pgbouncer::version() >= KEEPS_STATEMENTS {
        "max_prepared_statements = 0"
    } else {
        ""
    };
    format!("pool_mode = transaction\n{setting}")
}

/// The modes that can be used, with the settings that they need.
fn good_modes() -> Vec<&'static str> {
    // Nothing else that is left in a backend is hidden by that query.
    let session = "pool_mode = session\nserver_reset_query = DEALLOCATE ALL";
    let transaction = "pool_mode = transaction\nmax_prepared_statements = 100";
    if pgbouncer::version() >= KEEPS_STATEMENTS {
        vec![session, transaction]
    } else {
        vec![session]
    }
}

async fn show(connection: &mut PgConnection, parameter: &str) -> String {
    let sql = AssertSqlSafe(format!("SHOW {parameter}"));
    sqlx::query_scalar(sql).fetch_one(connection).await.unwrap()
}

/// Asserts that other clients of the pooler find its backends as they were.
async fn assert_nothing_is_left(bouncer: &PgBouncer, database: &Database) {
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = bouncer.connect().await;
        sqlx::raw_sql("BEGIN").execute(&mut client).await.unwrap();
        for (parameter, default) in [
            ("plan_cache_mode", "auto"),
            ("enable_seqscan", "on"),
            ("statement_timeout", "0"),
            ("lock_timeout", "0"),
            ("idle_in_transaction_session_timeout", "0"),
        ] {
            assert_eq!(show(&mut client, parameter).await, default, "{parameter}");
        }
        // In its transaction, so that each has a backend of its own.
        clients.push(client);
    }
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let locks: i64 = sqlx::query_scalar(locks)
        .fetch_one(&database.pool().await)
        .await
        .unwrap();
    assert_eq!(locks, 0);
}

/// A player plays, drops, comes back and gets the state back, by webhooks and by requests.
async fn play(app: &Replica, upstream: &Upstream) {
    send_webhooks(&upstream.sim, &app.base);
    app.get("/health/ready").await.expect(200);
    upstream.join("player-7", "peer-1", "hp 71");
    for _ in 0..20 {
        let (peer, room, resume, history) = tokio::join!(
            app.snapshot("peer-1"),
            app.snapshot_room(),
            app.resume("player-7"),
            app.history("player-7"),
        );
        for answer in [peer, room] {
            assert!(answer.status.is_success(), "{}", answer.text);
        }
        for answer in [resume, history] {
            assert!(
                [200, 404].contains(&answer.status.as_u16()),
                "{}",
                answer.text
            );
        }
    }
    assert_eq!(app.resumed_metadata("player-7").await, "hp 71");
    let claim = json!({"claimed_by": "server-1"});
    let claimed = app.post_json("/v1/users/player-7/resume", &claim).await;
    assert_eq!(
        claimed.expect(200).json()["claim"]["claimed_by"],
        "server-1"
    );
}

#[tokio::test]
async fn everything_works_through_a_pooler_and_leaves_nothing_behind() {
    for mode in good_modes() {
        let (database, upstream) = (postgres::empty_database().await, Upstream::start().await);
        let bouncer = PgBouncer::start(database.url(), mode).await;
        let mut variables = settings(bouncer.url(), &upstream);
        variables.push(("REJOIN_WEBHOOK_SECRETS", WEBHOOK_SECRET));
        variables.push(("REJOIN_UPSTREAM_TIMEOUT", "30s"));
        let endpoint = Scripted::answers([Answer::ok("")]).await;
        let url = format!("http://127.0.0.1:{}/", endpoint.port);
        variables.push(("REJOIN_FORWARD_URL", &*url));
        let program = Program::start(&[], &variables).await;
        play(&program.app(), &upstream).await;
        let received = async || !endpoint.received().is_empty();
        until("an event is passed on", received).await;
        let (status, log) = program.stop().await;
        assert!(status.success(), "{mode}: {log}");
        assert!(
            log.contains(" through a pooler, database "),
            "{mode}: {log}"
        );
        assert_nothing_is_left(&bouncer, &database).await;
    }
}

#[tokio::test]
async fn migrations_at_once_through_a_pooler_wait_for_each_other() {
    for mode in good_modes() {
        let database = postgres::empty_database().await;
        let bouncer = PgBouncer::start(database.url(), mode).await;
        let variables = [("DATABASE_URL", bouncer.url())];
        let migrate = || rejoin(&["migrate"], &variables);
        let (one, two, three) = tokio::join!(migrate(), migrate(), migrate());
        for ended in [one, two, three] {
            ended.expect(0);
        }
        assert_nothing_is_left(&bouncer, &database).await;
    }
}

#[tokio::test]
async fn a_pooler_that_loses_prepared_statements_is_refused_in_one_sentence() {
    let (database, upstream) = (postgres::database().await, Upstream::start().await);
    let bouncer = PgBouncer::start(database.url(), &loses_statements()).await;
    let variables = settings(bouncer.url(), &upstream);
    for command in [&["serve"][..], &["serve", "--no-migrate"], &["migrate"]] {
        let ended = rejoin(command, &variables).await.expect(5);
        assert_eq!(ended.err, REFUSAL, "{command:?}");
    }
}

#[tokio::test]
async fn a_pooler_that_allows_no_transactions_is_refused_in_one_sentence() {
    let (database, upstream) = (postgres::database().await, Upstream::start().await);
    let bouncer = PgBouncer::start(database.url(), "pool_mode = statement").await;
    let variables = settings(bouncer.url(), &upstream);
    let ended = rejoin(&["serve"], &variables).await.expect(5);
    assert_eq!(ended.err, REFUSAL);
}

#[tokio::test]
async fn a_replica_behind_a_pooler_that_cannot_be_used_is_not_ready() {
    let world = World::new().await;
    let bouncer = PgBouncer::start(world.database.url(), &loses_statements()).await;
    let app = world.replica(through(&bouncer)).await;
    for _ in 0..3 {
        let answer = app.get("/health/ready").await.expect(503);
        assert_eq!(answer.code(), "database-unavailable");
        let detail = answer.json()["detail"].clone();
        assert_eq!(
            detail,
            "The pooler in front of the database cannot be used with rejoin."
        );
    }
}

#[tokio::test]
async fn a_database_that_is_away_behind_its_pooler_is_unavailable() {
    let world = World::new().await;
    let nowhere = "postgres://postgres:secret@127.0.0.1:1/none";
    let bouncer = PgBouncer::start(nowhere, "pool_mode = session").await;
    let app = world.replica(through(&bouncer)).await;
    for path in ["/health/ready", "/v1/users/player-7/resume"] {
        let answer = app.get(path).await.expect(503);
        assert_eq!(answer.code(), "database-unavailable", "{path}");
        let detail = answer.json()["detail"].clone();
        assert_eq!(
            detail, "The database is unavailable. Try again shortly.",
            "{path}"
        );
    }
}

/// The statements that rejoin's backends ran last.
async fn last_statements(database: &Database) -> Vec<String> {
    let sql = "SELECT query FROM pg_stat_activity
               WHERE datname = current_database() AND application_name = 'rejoin'";
    sqlx::query_scalar(sql)
        .fetch_all(&database.pool().await)
        .await
        .unwrap()
}

/// Asserts of all backends of a replica whether the last statement of each ended a transaction.
async fn assert_last_statements(world: &World, setup: Setup, are_commits: bool) {
    let app = world.replica(setup).await;
    app.snapshot("peer-1").await.expect(201);
    assert_eq!(app.resumed_metadata("player-7").await, "saved");
    let statements = last_statements(&world.database).await;
    assert!(!statements.is_empty());
    for statement in statements {
        assert_eq!(statement == "COMMIT", are_commits, "{statement}");
    }
}

#[tokio::test]
async fn a_statement_is_a_transaction_of_three_round_trips_only_behind_a_pooler() {
    let (direct, pooled) = (World::new().await, World::new().await);
    for world in [&direct, &pooled] {
        world.join("player-7", "peer-1", "saved");
    }
    let mut url = url::Url::parse(direct.database.url()).unwrap();
    url.query_pairs_mut()
        .append_pair("application_name", "rejoin");
    let setup = Setup {
        database_url: Some(url.into()),
        ..Setup::default()
    };
    assert_last_statements(&direct, setup, false).await;
    let bouncer = PgBouncer::start(pooled.database.url(), "pool_mode = session").await;
    assert_last_statements(&pooled, through(&bouncer), true).await;
}

/// Behind a pooler a statement has a transaction, and sqlx begins no second one with other words.
#[test]
fn statements_begin_their_transactions_so_that_it_works_within_another() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("connections") {
                folders.push(path);
            } else if path.is_file() {
                let code = fs::read_to_string(&path).unwrap();
                assert!(!code.contains(".begin_with("), "{}", path.display());
            }
        }
    }
}

fn through(bouncer: &PgBouncer) -> Setup {
    Setup {
        database_url: Some(format!("{}&application_name=rejoin", bouncer.url())),
        ..Setup::default()
    }
}
