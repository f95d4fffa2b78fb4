//! Failures around the service, and what it does meanwhile and afterwards.

mod clients;
mod clocks;
mod connections;
mod database;
mod erasure;
mod isolation;
mod overload;
mod primary;
mod process;
mod replicas;
mod switchover;
mod upstream;

use futures_util::future::join_all;
use sqlx::PgPool;
use url::Url;

use crate::support::proxy::Proxy;
use crate::support::world::{Answer, Replica, Setup, World};

/// The answers to every kind of request that needs the database, sent all at once, for a user
/// `player-7` with a peer `peer-1`.
async fn every_call(app: &Replica) -> [(&'static str, Answer); 5] {
    let (snapshot, room, resume, history, ready) = tokio::join!(
        app.snapshot("peer-1"),
        app.snapshot_room(),
        app.resume("player-7"),
        app.history("player-7"),
        app.get("/health/ready"),
    );
    [
        ("snapshot", snapshot),
        ("room", room),
        ("resume", resume),
        ("history", history),
        ("ready", ready),
    ]
}

#[track_caller]
fn all_succeed(answers: [(&'static str, Answer); 5]) {
    for (call, answer) in answers {
        assert!(
            answer.status.is_success(),
            "{call}: {} {}",
            answer.status,
            answer.text
        );
    }
}

#[track_caller]
fn all_unavailable(answers: impl IntoIterator<Item = (&'static str, Answer)>) {
    for (call, answer) in answers {
        assert_eq!(answer.status, 503, "{call}: {}", answer.text);
        assert_eq!(answer.code(), "database-unavailable", "{call}");
        assert_eq!(answer.header("retry-after"), "1", "{call}");
    }
}

/// The URL by which a replica's connections have a name in `pg_stat_activity`.
fn with_application_name(database_url: &str) -> String {
    let mut url = Url::parse(database_url).expect("a URL");
    url.query_pairs_mut()
        .append_pair("application_name", "rejoin");
    url.into()
}

/// A replica behind a proxy to its database, whose connections [`backends`] counts.
async fn replica_behind_proxy(world: &World) -> (Replica, Proxy) {
    let (proxy, url) = Proxy::before(world.database.url());
    let setup = Setup {
        database_url: Some(with_application_name(&url)),
        ..Setup::default()
    };
    (world.replica(setup).await, proxy)
}

/// Many calls at once, so that the replica has opened all its connections.
async fn open_all_connections(app: &Replica) {
    for _ in 0..3 {
        join_all((0..20).map(async |_| all_succeed(every_call(app).await))).await;
    }
}

/// How many connections of replicas to the database there are in such a state.
async fn backends(pool: &PgPool, condition: &str) -> i64 {
    let query = format!(
        "SELECT count(*) FROM pg_stat_activity \
         WHERE datname = current_database() AND backend_type = 'client backend' AND application_name = 'rejoin' AND {condition}"
    );
    sqlx::query_scalar(sqlx::AssertSqlSafe(query))
        .fetch_one(pool)
        .await
        .expect("the catalog can be read")
}
