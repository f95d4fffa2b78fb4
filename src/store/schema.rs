//! The schema: migrations, and the partitions of the months ahead.

use sqlx::{Connection, query};

use super::connections::run;
use super::{Store, StoreError};
use crate::domain::Timestamp;

/// How many months ahead have a partition: enough to outlast any restart.
const MONTHS_AHEAD: i32 = 2;

impl Store {
    /// Brings the schema up to date. Any number of instances may do so at once: they take turns.
    ///
    /// A schema that is newer than this binary is left as it is, so that the one before can run beside its successor.
    ///
    /// # Errors
    /// What the database said.
    pub async fn migrate(&self) -> anyhow::Result<()> {
        let mut migrator = sqlx::migrate!("./migrations");
        let mut connection = self.database.connect().await?;
        migrator
            .set_ignore_missing(true)
            .run(&mut connection)
            .await?;
        Ok(connection.close().await?)
    }

    /// Makes the partitions of this month and the next ones, where they are missing.
    ///
    /// # Errors
    /// [`StoreError`]; history then goes to the default partition, so that nothing is lost.
    pub async fn prepare_partitions(&self, now: Timestamp) -> Result<(), StoreError> {
        let (starting, months) = (now.to_utc(), MONTHS_AHEAD);
        run!(self.database, connection => {
            query!(r#"SELECT rejoin_prepare_partitions($1, $2)::text AS "done""#, starting, months).fetch_one(connection)
        })?;
        Ok(())
    }
}
