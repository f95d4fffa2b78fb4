//! The partitions of history: each is made before its time comes, and dropped when it is old.
//!
//! Both need a lock of all of history for a moment. A statement waits for it for 50 ms, and is tried
//! again later: whoever comes meanwhile waits behind it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, query_scalar};

use super::connections::Statement;
use super::schema::has_code;
use super::{Store, StoreError};
use crate::domain::{PartitionPeriod, Timestamp};

/// Somebody else has a lock: SQLSTATE `lock_not_available`.
const LOCK_NOT_AVAILABLE: &str = "55P03";
/// How many rows of the default partition are deleted in one statement.
const MAX_ROWS: i32 = 1_000;

/// What was done to the partitions of history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartitionStep {
    /// The partition of this name was made, or dropped; there may be more to do.
    Done(String),
    /// Nothing, since nothing is left to do.
    Finished,
    /// Nothing, since history is in use.
    InUse,
}

impl Store {
    /// Makes one partition of history that is missing now or in the coming time.
    ///
    /// # Errors
    /// [`StoreError`]; history then goes to the default partition, so that nothing is lost.
    pub async fn make_partition(
        &self,
        period: PartitionPeriod,
        now: Timestamp,
    ) -> Result<PartitionStep, StoreError> {
        let now = now.to_utc();
        self.background.execute(MakePartition { period, now }).await
    }

    /// Drops the oldest partition, if nothing in it was first observed within `keep`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn drop_partition(&self, keep: Duration) -> Result<PartitionStep, StoreError> {
        self.background.execute(DropPartition { keep }).await
    }

    /// Deletes history that is older than `keep` and has no partition, since it came later: a
    /// limited number of rows. Returns how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_late_history(&self, keep: Duration) -> Result<u64, StoreError> {
        self.background.execute(DeleteLateHistory { keep }).await
    }
}

struct MakePartition {
    period: PartitionPeriod,
    now: DateTime<Utc>,
}

impl Statement for MakePartition {
    type Output = PartitionStep;

    async fn run(&self, connection: &mut PgConnection) -> Result<PartitionStep, sqlx::Error> {
        let made = query_scalar!(
            "SELECT rejoin_make_partition($1, $2, $3)",
            self.period.as_str(),
            self.now,
            i32::from(self.period.ahead())
        );
        step(made.fetch_one(connection).await)
    }
}

struct DropPartition {
    keep: Duration,
}

impl Statement for DropPartition {
    type Output = PartitionStep;

    async fn run(&self, connection: &mut PgConnection) -> Result<PartitionStep, sqlx::Error> {
        let dropped = query_scalar!(
            "SELECT rejoin_drop_partition(make_interval(secs => $1))",
            self.keep.as_secs_f64()
        );
        step(dropped.fetch_one(connection).await)
    }
}

fn step(partition: Result<Option<String>, sqlx::Error>) -> Result<PartitionStep, sqlx::Error> {
    match partition {
        Ok(Some(partition)) => Ok(PartitionStep::Done(partition)),
        Ok(None) => Ok(PartitionStep::Finished),
        Err(error) if has_code(&error, LOCK_NOT_AVAILABLE) => Ok(PartitionStep::InUse),
        Err(error) => Err(error),
    }
}

struct DeleteLateHistory {
    keep: Duration,
}

impl Statement for DeleteLateHistory {
    type Output = u64;

    async fn run(&self, connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
        let deleted = query_scalar!(
            "SELECT rejoin_delete_late_history(make_interval(secs => $1), $2)",
            self.keep.as_secs_f64(),
            MAX_ROWS
        );
        let deleted = deleted.fetch_one(connection).await?;
        Ok(deleted.unwrap_or_default().unsigned_abs())
    }

    /// Citus refuses the statement: they are kept there.
    async fn run_distributed(&self, _: &mut PgConnection) -> Result<u64, sqlx::Error> {
        Ok(0)
    }
}
