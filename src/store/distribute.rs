//! Distributes the tables over the nodes of a Citus cluster: all rows of a user are on one of them.

use anyhow::ensure;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, query_scalar};

use super::Store;
use super::connections::HAS_CITUS;
use super::schema::wait_for_other_migrators;

/// The tables that are distributed by user, the first one before those that lie beside it.
const BY_USER: [&str; 4] = ["peers", "snapshots", "resumes", "announced_states"];
/// The table of which each node has all. What is neither here nor there, the queues above all, stays where it is: on the
/// coordinator.
const REFERENCE: &str = "session_ends";

impl Store {
    /// Distributes the tables that are not distributed yet, in `shards` parts each, or as many as Citus makes by default.
    /// Their rows move. Nobody can write to them until this returns.
    ///
    /// # Errors
    /// Where there is no Citus, or what the database reported. Then nothing has moved.
    pub async fn distribute(&self, shards: Option<u16>) -> anyhow::Result<()> {
        let mut connection = self.database.connect().await?;
        let has_citus = AssertSqlSafe(format!("SELECT {HAS_CITUS}"));
        let has_citus: bool = query_scalar(has_citus).fetch_one(&mut connection).await?;
        ensure!(
            has_citus,
            "the database has no Citus: install it on each node, and run CREATE EXTENSION citus in this database there"
        );
        let mut lock = self.database.connect().await?;
        wait_for_other_migrators(&mut lock).await?;
        distribute_tables(&mut connection, shards).await?;
        lock.execute("COMMIT").await?;
        lock.close().await?;
        Ok(connection.close().await?)
    }
}

/// Distributes the tables that are not distributed yet: all of them, or none.
async fn distribute_tables(
    connection: &mut PgConnection,
    shards: Option<u16>,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    // Else Citus opens several connections to each node, and refuses a reference table after that.
    transaction
        .execute("SET LOCAL citus.multi_shard_modify_mode = 'sequential'")
        .await?;
    let mut moved = Vec::new();
    for table in BY_USER {
        if is_distributed(&mut transaction, table).await? {
            continue;
        }
        let place = match shards {
            _ if table != BY_USER[0] => format!("colocate_with => '{}'", BY_USER[0]),
            Some(shards) => format!("shard_count => {shards}"),
            None => "colocate_with => 'none'".to_owned(),
        };
        let distribute = format!("SELECT create_distributed_table('{table}', 'user_id', {place})");
        transaction.execute(AssertSqlSafe(distribute)).await?;
        moved.push(table);
    }
    if !is_distributed(&mut transaction, REFERENCE).await? {
        let distribute = format!("SELECT create_reference_table('{REFERENCE}')");
        transaction.execute(AssertSqlSafe(distribute)).await?;
        moved.push(REFERENCE);
    }
    transaction.commit().await?;
    for table in moved {
        let truncate = format!("SELECT truncate_local_data_after_distributing_table('{table}')");
        connection.execute(AssertSqlSafe(truncate)).await?;
    }
    Ok(())
}

async fn is_distributed(connection: &mut PgConnection, table: &str) -> Result<bool, sqlx::Error> {
    let sql = "SELECT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = to_regclass($1))";
    query_scalar(sql).bind(table).fetch_one(connection).await
}
