//! The Postgres that all benchmarks of a run share, and pgbench against it.

use std::io::Write;
use std::process::Command;

use embedded_postgres::EmbeddedPostgres;
use rejoin::domain::{Clock, PartitionPeriod};
use rejoin::service::PartitionWorker;
use rejoin::store::{Store, StoreConfig};
use sqlx::{Connection, Executor, PgConnection};
use uuid::Uuid;

use super::MEASUREMENT;

/// How many users the tables hold.
pub(crate) const USERS: u32 = 10_000;

pub(crate) struct Server {
    _embedded: Option<EmbeddedPostgres>,
    url: url::Url,
}

impl Server {
    pub(crate) async fn start() -> Self {
        if let Ok(url) = std::env::var("DATABASE_URL") {
            return Self {
                _embedded: None,
                url: url.parse().expect("DATABASE_URL should be a URL"),
            };
        }
        let embedded = EmbeddedPostgres::start(None).await.expect("a Postgres");
        let url = embedded.url().parse().expect("a URL");
        Self {
            _embedded: Some(embedded),
            url,
        }
    }

    /// A new database with the schema.
    pub(crate) async fn database(&self) -> Database {
        let name = format!("bench_{}", Uuid::new_v4().simple());
        let mut admin = PgConnection::connect(self.url.as_str())
            .await
            .expect("the server answers");
        admin
            .execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .await
            .expect("a database");
        let mut url = self.url.clone();
        url.set_path(&name);
        let database = Database {
            url: url.into(),
            name,
            server: self.url.to_string(),
        };
        let store = database.store();
        store.migrate().await.expect("the schema");
        let partitions = PartitionWorker::new(store, Clock::system(), PartitionPeriod::Month, None);
        assert!(partitions.make().await.expect("partitions"));
        database
    }
}

pub(crate) struct Database {
    pub(crate) url: String,
    name: String,
    server: String,
}

impl Database {
    pub(crate) fn store(&self) -> Store {
        Store::new(self.url.parse().expect("a URL"), &StoreConfig::default())
    }

    pub(crate) async fn execute(&self, statements: &str) {
        let mut connection = PgConnection::connect(&self.url)
            .await
            .expect("the server answers");
        connection
            .execute(sqlx::AssertSqlSafe(statements.to_owned()))
            .await
            .expect("the statements run");
    }

    pub(crate) async fn count(&self, query: &str) -> i64 {
        let mut connection = PgConnection::connect(&self.url)
            .await
            .expect("the server answers");
        sqlx::query_scalar(sqlx::AssertSqlSafe(query.to_owned()))
            .fetch_one(&mut connection)
            .await
            .expect("a count")
    }

    /// The names and sizes of this query.
    pub(crate) async fn sizes(&self, query: &'static str) -> Vec<(String, i64)> {
        let connection = PgConnection::connect(&self.url).await;
        let mut connection = connection.expect("the server answers");
        let sizes = sqlx::query_as(query).fetch_all(&mut connection).await;
        sizes.expect("sizes")
    }

    /// The numbers of this query; none where the server does not answer.
    pub(crate) async fn try_counts(&self, query: &'static str) -> Option<Vec<i64>> {
        let mut connection = PgConnection::connect(&self.url).await.ok()?;
        let counts = sqlx::query_scalar(query).fetch_one(&mut connection).await;
        counts.ok()
    }

    /// Adds `user-1` to `user-10000`, each with one peer that has metadata, and `rows` rows of
    /// history.
    pub(crate) async fn fill(&self, rows: u32) {
        self.execute(&format!(
            "INSERT INTO snapshots (user_id, room_id, peer_id, id, source, metadata_raw, role, joined_at,
                                    first_observed_at, last_observed_at)
             SELECT 'user-' || 1 + n % {USERS}, 'room-' || n % 100, 'peer-' || n % {USERS}, gen_random_uuid(), 'peer',
                    convert_to('{{\"checkpoint\":\"cave-' || n || '\",\"hp\":71}}', 'UTF8'), 'player', now(),
                    now() - n * interval '1 millisecond', now() - n * interval '1 millisecond'
             FROM generate_series(1, {rows}) AS n;
             INSERT INTO peers (user_id, room_id, peer_id, version, snapshot_id, source, metadata_raw, metadata_changed_at,
                                role, joined_at, first_observed_at, last_observed_at)
             SELECT DISTINCT ON (user_id, room_id, peer_id) user_id, room_id, peer_id, 1, id, source, metadata_raw,
                    first_observed_at, role, joined_at, first_observed_at, last_observed_at
             FROM snapshots ORDER BY user_id, room_id, peer_id, first_observed_at DESC
             ON CONFLICT DO NOTHING;"
        ))
        .await;
        self.execute("VACUUM ANALYZE peers").await;
        self.execute("VACUUM ANALYZE snapshots").await;
    }

    /// The transactions per second of pgbench with this script.
    pub(crate) fn pgbench(&self, clients: u32, script: &str) -> f64 {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(script.as_bytes())
            .expect("the script is written");
        let output = Command::new(pgbench())
            .args([
                "-n",
                "-M",
                "prepared",
                "-j",
                "2",
                "-c",
                &clients.to_string(),
                "-T",
                &MEASUREMENT.as_secs().to_string(),
            ])
            .arg("-f")
            .arg(file.path())
            .arg(&self.url)
            .output()
            .expect("pgbench runs");
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines()
            .find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok())
            .unwrap_or_else(|| {
                panic!(
                    "pgbench printed no rate: {text}{}",
                    String::from_utf8_lossy(&output.stderr)
                )
            })
    }

    pub(crate) async fn remove(self) {
        let mut admin = PgConnection::connect(&self.server)
            .await
            .expect("the server answers");
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        admin
            .execute(sqlx::AssertSqlSafe(drop))
            .await
            .expect("the database is dropped");
    }
}

fn pgbench() -> std::path::PathBuf {
    let installed = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut candidates: Vec<_> = installed
        .map(|version| version.path().join("bin/pgbench"))
        .collect();
    candidates.sort();
    candidates
        .into_iter()
        .rfind(|path| path.exists())
        .unwrap_or_else(|| "pgbench".into())
}
