//! The schema: migrations, and the partitions of the coming months.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection, query};

use super::connections::Statement;
use super::{Store, StoreError};
use crate::domain::Timestamp;

/// How many coming months have a partition: enough to outlast any restart.
const MONTHS_AHEAD: i32 = 2;

/// The indexes that migrations build concurrently.
const CONCURRENT_INDEXES: [&str; 3] = ["peers_live", "peers_live_in_room", "session_ends_to_check"];
/// How often a replica asks whether another has finished its migrations.
const MIGRATOR_POLL: Duration = Duration::from_millis(100);

impl Store {
    /// Brings the schema up to date. Any number of replicas may do so at once: they wait for each
    /// other.
    ///
    /// A schema that is newer than this binary is left as it is, so that the previous version can
    /// run beside its successor.
    ///
    /// # Errors
    /// What the database reported.
    pub async fn migrate(&self) -> anyhow::Result<()> {
        let mut migrator = sqlx::migrate!("./migrations");
        let mut connection = self.database.connect().await?;
        wait_for_other_migrators(&mut connection).await?;
        drop_unfinished_indexes(&mut connection).await?;
        migrator
            .set_ignore_missing(true)
            .run(&mut connection)
            .await?;
        Ok(connection.close().await?)
    }

    /// Creates the missing partitions of this month and the next ones.
    ///
    /// # Errors
    /// [`StoreError`]; history then goes to the default partition, so that nothing is lost.
    pub async fn prepare_partitions(&self, now: Timestamp) -> Result<(), StoreError> {
        let first_month = now.to_utc();
        let prepare_partitions = PreparePartitions { first_month };
        self.database.execute(&prepare_partitions).await
    }
}

/// Takes a lock that lasts as long as the connection, and polls for it. Whoever waits within a
/// statement, as sqlx does, would keep `CREATE INDEX CONCURRENTLY` waiting, which waits for all
/// statements that began before it.
async fn wait_for_other_migrators(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let take = "SELECT pg_try_advisory_lock(hashtext('rejoin_migrate'))";
    while !sqlx::query_scalar::<_, bool>(take)
        .fetch_one(&mut *connection)
        .await?
    {
        tokio::time::sleep(MIGRATOR_POLL).await;
    }
    Ok(())
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
        sqlx::query(sqlx::AssertSqlSafe(drop))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

struct PreparePartitions {
    first_month: DateTime<Utc>,
}

impl Statement for PreparePartitions {
    type Output = ();

    async fn run(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        query!(
            r#"SELECT rejoin_prepare_partitions($1, $2)::text AS "done""#,
            self.first_month,
            MONTHS_AHEAD
        )
        .fetch_one(connection)
        .await?;
        Ok(())
    }
}
