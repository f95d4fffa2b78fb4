//! Databases for the tests: one server for the whole run, one database for each test, made from a
//! migrated template.
//!
//! [`server`] chooses and starts the server, [`run`] shares it among the processes of a run and
//! ends it with the run.

mod docker;
mod run;
mod server;

use std::hash::{DefaultHasher, Hash, Hasher};

use sqlx::migrate::Migrator;
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};
use tokio::sync::OnceCell;
use url::Url;
use uuid::Uuid;

pub(crate) use server::Choice;

/// What every database has.
static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// Held while the template is made: two processes may start at once.
const TEMPLATE_LOCK: i64 = 0x7265_6a6f_696e;

/// The database of one test. It is dropped with this value, connections and all.
pub(crate) struct Database {
    server: Url,
    name: String,
    url: String,
}

/// A migrated database for the calling test alone.
pub(crate) async fn database() -> Database {
    static TEMPLATE: OnceCell<String> = OnceCell::const_new();
    let server = server().await;
    let template = TEMPLATE.get_or_init(|| template(&server)).await;
    Database::create(server, template).await
}

/// A database without any table: for tests of the migrations themselves.
pub(crate) async fn empty_database() -> Database {
    Database::create(server().await, "template1").await
}

impl Database {
    async fn create(server: Url, template: &str) -> Self {
        let name = format!("t_{}", Uuid::new_v4().simple());
        execute(
            &mut connect(&server).await,
            &format!("CREATE DATABASE {name} TEMPLATE {template}"),
        )
        .await;
        let url = with_database(&server, &name).into();
        Self { server, name, url }
    }

    /// Its URL, for a superuser.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A pool of a few connections to it.
    pub(crate) async fn pool(&self) -> PgPool {
        PgPool::connect(self.url())
            .await
            .expect("a new database accepts connections")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // A thread of its own: this one may be running the runtime of the test.
        let _ = std::thread::spawn(move || block_on(drop_database(server, name))).join();
    }
}

async fn drop_database(server: Url, name: String) {
    if let Ok(mut connection) = PgConnection::connect(server.as_str()).await {
        let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
        let _ = sqlx::query(sqlx::AssertSqlSafe(drop))
            .execute(&mut connection)
            .await;
    }
}

fn block_on(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime can be made").block_on(work);
}

/// The URL of the server of this run, found once per process. Every test fails where there is none.
async fn server() -> Url {
    static SERVER: OnceCell<Result<Url, String>> = OnceCell::const_new();
    match SERVER.get_or_init(run::server).await {
        Ok(url) => url.clone(),
        Err(sentence) => panic!("{sentence}"),
    }
}

/// The name of the migrated template, made if it is missing.
///
/// It is named for the migrations, so that a server that outlives the run (`TEST_DATABASE_URL`)
/// never serves an old one.
async fn template(server: &Url) -> String {
    let name = format!("rejoin_template_{:016x}", fingerprint(&MIGRATOR));
    let mut connection = connect(server).await;
    sqlx::query("SELECT pg_advisory_lock($1)")
        .bind(TEMPLATE_LOCK)
        .execute(&mut connection)
        .await
        .expect("a lock");
    let there = sqlx::query("SELECT 1 FROM pg_database WHERE datname = $1").bind(&name);
    if there
        .fetch_optional(&mut connection)
        .await
        .expect("the catalog can be read")
        .is_none()
    {
        make_template(server, &mut connection, &name).await;
    }
    connection
        .close()
        .await
        .expect("a connection can be closed");
    name
}

/// Migrates under another name first: an interrupted template is never used.
async fn make_template(server: &Url, connection: &mut PgConnection, name: &str) {
    let unfinished = format!("{name}_new");
    execute(
        connection,
        &format!("DROP DATABASE IF EXISTS {unfinished} WITH (FORCE)"),
    )
    .await;
    execute(connection, &format!("CREATE DATABASE {unfinished}")).await;
    let mut inside = connect(&with_database(server, &unfinished)).await;
    MIGRATOR
        .run(&mut inside)
        .await
        .expect("the migrations run on an empty database");
    inside.close().await.expect("a connection can be closed");
    execute(
        connection,
        &format!("ALTER DATABASE {unfinished} RENAME TO {name}"),
    )
    .await;
}

fn fingerprint(migrator: &Migrator) -> u64 {
    let mut hasher = DefaultHasher::new();
    migrator
        .iter()
        .for_each(|migration| (migration.version, &migration.checksum).hash(&mut hasher));
    hasher.finish()
}

async fn connect(url: &Url) -> PgConnection {
    let options = url
        .as_str()
        .parse::<sqlx::postgres::PgConnectOptions>()
        .expect("a database URL");
    let connected = PgConnection::connect_with(&options.disable_statement_logging()).await;
    connected.unwrap_or_else(|error| {
        panic!("the Postgres for tests does not answer ({error}): is it still running?")
    })
}

async fn execute(connection: &mut PgConnection, statement: &str) {
    let done = sqlx::query(sqlx::AssertSqlSafe(statement))
        .execute(connection)
        .await;
    done.unwrap_or_else(|error| panic!("{statement}: {error}"));
}

fn with_database(server: &Url, name: &str) -> Url {
    let mut url = server.clone();
    url.set_path(name);
    url
}
