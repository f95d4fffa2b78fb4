//! A real standby, which is read-only until it is promoted, beside an old primary that stays reachable.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use embedded_postgres::{Durability, EmbeddedPostgres, Options};
use rejoin::store::{Store, StoreConfig};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use url::Url;

use super::with_application_name;
use crate::support::program::{Program, Upstream};
use crate::support::proxy::Proxy;
use crate::support::temp::temp_dir;
use crate::support::wait::{until, until_within};
use crate::support::world::{Answer, Setup, World};

/// How soon a replica is well again after a switchover.
const BOUND: Duration = Duration::from_secs(5);

async fn start(dir: &Path) -> EmbeddedPostgres {
    let options = Options::default().dir(dir).durability(Durability::None);
    options.start().await.unwrap()
}

async fn execute(url: &str, sql: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query(AssertSqlSafe(sql.to_owned()))
        .execute(&mut connection)
        .await
        .unwrap();
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

/// A primary with a current schema, and a standby that follows it.
async fn primary_and_standby(
    primary: &Path,
    standby: &Path,
) -> (EmbeddedPostgres, EmbeddedPostgres) {
    let server = start(primary).await;
    let store = Store::new(server.url().parse().unwrap(), &StoreConfig::default());
    store.migrate().await.unwrap();
    drop(store);
    server.stop().await;
    for part in ["data", "password"] {
        copy(&primary.join(part), &standby.join(part));
    }
    let server = start(primary).await;
    let url = Url::parse(server.url()).unwrap();
    let connection = format!(
        "primary_conninfo = 'host=127.0.0.1 port={} user=postgres password={}'\n",
        url.port().unwrap(),
        url.password().unwrap()
    );
    fs::write(standby.join("data/postgresql.auto.conf"), connection).unwrap();
    fs::write(standby.join("data/standby.signal"), "").unwrap();
    let standby = start(standby).await;
    (server, standby)
}

#[track_caller]
fn is_refused(answer: Answer) {
    let answer = answer.expect(503);
    let detail = answer.json()["detail"].clone();
    assert_eq!(
        detail,
        "The database server is read-only. Try again shortly."
    );
}

#[tokio::test]
async fn a_switchover_brings_back_no_older_state() {
    let (primary_dir, standby_dir) = (temp_dir(), temp_dir());
    let (old, new) = primary_and_standby(primary_dir.path(), standby_dir.path()).await;
    let world = World::new().await;
    let (mut proxy, url) = Proxy::before(old.url());
    let setup = |url: &str| Setup {
        database_url: Some(with_application_name(url)),
        ..Setup::with_webhooks()
    };
    let app = world.replica(setup(&url)).await;
    world.join("player-7", "peer-1", "before");
    app.snapshot("peer-1").await.expect(201);
    assert_eq!(app.resumed_metadata("player-7").await, "before");

    // A program starts on the standby, whose schema is current, and answers nobody.
    let upstream = Upstream::start().await;
    let on_standby = Program::serve(new.url(), &upstream).await;
    let other = on_standby.app();
    other.get("/health/live").await.expect(200);
    is_refused(other.get("/health/ready").await);
    is_refused(other.resume("player-7").await);
    is_refused(other.resume("nobody").await);
    is_refused(other.history("player-7").await);

    // The old primary stays reachable on the connections that are open.
    until("the standby has it all", async || {
        let sql =
            "SELECT count(*) > 0 FROM pg_stat_replication WHERE replay_lsn = pg_current_wal_lsn()";
        let mut connection = PgConnection::connect(old.url()).await.unwrap();
        sqlx::query_scalar(sql)
            .fetch_one(&mut connection)
            .await
            .unwrap()
    })
    .await;
    execute(
        old.url(),
        "ALTER SYSTEM SET default_transaction_read_only = on",
    )
    .await;
    execute(old.url(), "SELECT pg_reload_conf()").await;
    until("the old primary is demoted", async || {
        app.resume("player-7").await.status == 503
    })
    .await;
    is_refused(app.get("/health/ready").await);
    execute(new.url(), "SELECT pg_promote()").await;

    // The new one is used by others first, so that the old one is behind.
    until_within(BOUND, "the promoted one is ready", async || {
        other.get("/health/ready").await.status == 200
    })
    .await;
    let through_new = world.replica(setup(new.url())).await;
    world.set("peer-1", "after");
    through_new.snapshot("peer-1").await.expect(201);
    is_refused(app.resume("player-7").await);

    proxy.lead_to(new.url()).await;
    until_within(BOUND, "it is ready again", async || {
        let answer = app.resume("player-7").await;
        if answer.status == 200 {
            assert_eq!(answer.json()["metadata_raw"], "after");
        }
        answer.status == 200 && app.get("/health/ready").await.status == 200
    })
    .await;
    assert_eq!(app.resumed_metadata("player-7").await, "after");
    assert_eq!(other.resumed_metadata("player-7").await, "after");
    let (_, log) = on_standby.stop().await;
    let line = log.lines().find(|line| line.contains("Postgres ")).unwrap();
    for part in [
        "(a standby) at 127.0.0.1:",
        "database rejoin, schema public, role postgres",
    ] {
        assert!(line.contains(part), "{line}");
    }
}
