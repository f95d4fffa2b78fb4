//! The schema: migrations, and the partitions of the coming months.

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection, query};

use super::connections::Statement;
use super::{Store, StoreError};
use crate::domain::Timestamp;

/// How many coming months have a partition: enough to outlast any restart.
const MONTHS_AHEAD: i32 = 2;

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
