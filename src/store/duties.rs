//! Duties: what one replica at a time does now and then.

use std::time::Duration;

use sqlx::{PgConnection, query, query_file};

use super::connections::Statement;
use super::{Store, StoreError};
use crate::domain::named;

named! {
    /// What one replica at a time does now and then.
    pub enum Duty {
        /// To read the list of active sessions for rooms to watch.
        Sessions = "sessions",
        /// To look for peers that count as connected and were not seen for long.
        Presence = "presence",
        /// To delete rows that no answer needs any more.
        Compaction = "compaction",
        /// To make and drop partitions of history.
        Partitions = "partitions",
    }
}

impl Store {
    /// Takes a duty for a lease, if it was done longer ago than `every` and no other replica has it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn take_duty(
        &self,
        duty: Duty,
        every: Duration,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        let take_duty = TakeDuty { duty, every, lease };
        self.background.execute(take_duty).await
    }

    /// Keeps a duty for another lease; false where the lease ended before.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn renew_duty(&self, duty: Duty, lease: Duration) -> Result<bool, StoreError> {
        self.background.execute(RenewDuty { duty, lease }).await
    }

    /// Says that a duty is done.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn finish_duty(&self, duty: Duty) -> Result<(), StoreError> {
        self.background.execute(FinishDuty(duty)).await
    }
}

struct TakeDuty {
    duty: Duty,
    every: Duration,
    lease: Duration,
}

impl Statement for TakeDuty {
    type Output = bool;

    async fn run(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let taken = query_file!(
            "src/store/queries/take_duty.sql",
            self.duty.as_str(),
            self.every.as_secs_f64(),
            self.lease.as_secs_f64()
        )
        .execute(connection)
        .await?;
        Ok(taken.rows_affected() > 0)
    }
}

struct RenewDuty {
    duty: Duty,
    lease: Duration,
}

impl Statement for RenewDuty {
    type Output = bool;

    async fn run(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let renewed = query!(
            "UPDATE duties SET leased_until = now() + make_interval(secs => $2)
             WHERE name = $1 AND leased_until > now()",
            self.duty.as_str(),
            self.lease.as_secs_f64()
        )
        .execute(connection)
        .await?;
        Ok(renewed.rows_affected() > 0)
    }
}

struct FinishDuty(Duty);

impl Statement for FinishDuty {
    type Output = ();

    async fn run(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        query!(
            "UPDATE duties SET done_at = now(), leased_until = NULL WHERE name = $1",
            self.0.as_str()
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}
