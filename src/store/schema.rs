//! The schema: migrations, and which of them are missing.

use std::time::Duration;

use sqlx::migrate::{Migration, Migrator};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqlSafeStr, query_as};

use super::Store;

/// The indexes that migrations build concurrently.
const CONCURRENT_INDEXES: [&str; 8] = [
    "peers_live",
    "peers_live_in_room",
    "peers_ended",
    "peers_ended_with_session",
    "session_ends_to_check",
    "forwards_failing",
    "forwards_aside_by_room",
    "snapshots_default_by_time",
];
/// How often a replica asks whether another has finished its migrations.
const MIGRATOR_POLL: Duration = Duration::from_millis(100);

fn migrator() -> Migrator {
    let migrations = sqlx::migrate!("./migrations");
    let migrations = migrations.iter().cloned().map(|migration| Migration {
        sql: AssertSqlSafe(with_local_settings(migration.sql.as_str())).into_sql_str(),
        ..migration
    });
    Migrator::with_migrations(migrations.collect())
}

/// A migration that leaves no parameter to those after it, nor, behind a pooler, to other clients.
fn with_local_settings(sql: &str) -> String {
    sql.replace("\nSET lock_timeout", "\nSET LOCAL lock_timeout")
}

impl Store {
    /// Brings the schema up to date. Any number of replicas may do so at once: they wait for each
    /// other. Where nothing is missing, it writes nothing, so that a read-only server will do.
    ///
    /// A schema that is newer than this binary is left as it is, so that the previous version can
    /// run beside its successor.
    ///
    /// # Errors
    /// What the database reported.
    pub async fn migrate(&self) -> anyhow::Result<()> {
        self.refuse_pooler().await?;
        let mut connection = self.database.connect().await?;
        if !is_current(&mut connection).await? {
            let mut lock = self.database.connect().await?;
            wait_for_other_migrators(&mut lock).await?;
            drop_unfinished_indexes(&mut connection).await?;
            migrator()
                .set_ignore_missing(true)
                .set_locking(false)
                .run(&mut connection)
                .await?;
            lock.execute("COMMIT").await?;
            lock.close().await?;
        }
        Ok(connection.close().await?)
    }
}

/// Takes a lock, and leaves the connection in the transaction that has it: behind a pooler, a lock
/// that lasts longer could stay with the backend. An idle transaction has no snapshot, so that
/// nobody waits for it.
///
/// It polls, with a transaction for each attempt. Whoever waits within a statement, as sqlx does,
/// would keep `CREATE INDEX CONCURRENTLY` waiting, which waits for all statements that began before
/// it.
pub(super) async fn wait_for_other_migrators(
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    let begin = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0";
    let take = "SELECT pg_try_advisory_xact_lock(hashtext('rejoin_migrate'))";
    loop {
        connection.execute(begin).await?;
        let is_taken: bool = sqlx::query_scalar(take).fetch_one(&mut *connection).await?;
        if is_taken {
            return Ok(());
        }
        connection.execute("ROLLBACK").await?;
        tokio::time::sleep(MIGRATOR_POLL).await;
    }
}

/// Drops what an interrupted `CREATE INDEX CONCURRENTLY` of a migration has left, so that it can run
/// again.
async fn drop_unfinished_indexes(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let unfinished = "SELECT quote_ident(relname) FROM pg_index
        JOIN pg_class ON pg_class.oid = indexrelid
        WHERE NOT indisvalid AND relname = ANY ($1) AND pg_table_is_visible(indexrelid)";
    let names: Vec<String> = sqlx::query_scalar(unfinished)
        .bind(CONCURRENT_INDEXES)
        .fetch_all(&mut *connection)
        .await?;
    for name in names {
        let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {name}");
        sqlx::query(AssertSqlSafe(drop))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Whether every migration has been run, as this binary knows it.
async fn is_current(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let applied = applied(connection).await?;
    let is_applied = |migration: &Migration| {
        let (version, checksum) = (migration.version, &*migration.checksum);
        applied
            .iter()
            .any(|known| known.0 == version && known.1 == checksum)
    };
    Ok(migrator().iter().all(is_applied))
}

/// The first migration that this binary needs and the schema lacks.
///
/// A role that may not read which were run gets none.
pub(super) async fn missing_migration(
    connection: &mut PgConnection,
) -> Result<Option<String>, sqlx::Error> {
    let applied = match applied(connection).await {
        Err(error) if has_code(&error, "42501") => return Ok(None),
        applied => applied?,
    };
    let migrator = migrator();
    let missing = migrator
        .iter()
        .find(|migration| !applied.iter().any(|known| known.0 == migration.version));
    Ok(missing.map(|migration| format!("{} ({})", migration.version, migration.description)))
}

/// The versions and checksums of the migrations that were run.
async fn applied(connection: &mut PgConnection) -> Result<Vec<(i64, Vec<u8>)>, sqlx::Error> {
    let sql = "SELECT version, checksum FROM _sqlx_migrations WHERE success";
    let applied = query_as(sql).fetch_all(connection).await;
    match applied {
        // There is no such table yet.
        Err(error) if has_code(&error, "42P01") => Ok(Vec::new()),
        applied => applied,
    }
}

/// Whether the database reported this SQLSTATE.
pub(super) fn has_code(error: &sqlx::Error, code: &str) -> bool {
    let database_error = error.as_database_error();
    database_error.is_some_and(|error| error.code().as_deref() == Some(code))
}
