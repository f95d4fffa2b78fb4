//! The partitions of history: once a day, one replica makes those of the coming time, and drops
//! those that are older than history is kept.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::lease::Lease;
use super::metrics::{COMPACTED_ROWS, CompactedTable, DROPPED_PARTITIONS};
use crate::backoff::Backoff;
use crate::domain::{Clock, PartitionPeriod};
use crate::store::{Duty, PartitionStep, Store, StoreError};

/// How often a replica asks whether it is time.
const CHECK_INTERVAL: Duration = Duration::from_hours(1);
/// How long after the partitions were seen to, that is done again.
const EVERY: Duration = Duration::from_hours(24);
/// Between two steps others have the database.
const PAUSE: Duration = Duration::from_millis(100);

const LEASE: Lease = Lease {
    length: Duration::from_mins(2),
    max_unrenewed: Duration::from_secs(90),
};

/// Each attempt may hold others up for 50 ms.
const PAUSES_IN_USE: Backoff = Backoff {
    first: Duration::from_secs(1),
    longest: Duration::from_mins(1),
    factor: 2,
    jitter: 0.25,
};
const MAX_RETRIES_IN_USE: u32 = 9;
/// More partitions are worth a warning: a statement that goes through all of them takes three locks
/// for each.
const MANY_PARTITIONS: u64 = 120;

/// Makes and drops partitions of history. Cheap to clone.
#[derive(Clone)]
pub struct PartitionWorker {
    store: Store,
    clock: Clock,
    period: PartitionPeriod,
    keep: Option<Duration>,
}

impl PartitionWorker {
    /// One that makes partitions of this period, and keeps history for so long; none for ever.
    pub fn new(
        store: Store,
        clock: Clock,
        period: PartitionPeriod,
        keep: Option<Duration>,
    ) -> Self {
        Self {
            store,
            clock,
            period,
            keep,
        }
    }

    /// Works until `shutdown`. What is left then is found the next time.
    pub async fn run(self, shutdown: CancellationToken) {
        if self
            .partitions()
            .is_none_or(|count| count > MANY_PARTITIONS)
        {
            tracing::warn!(
                "REJOIN_HISTORY_PARTITION={} makes many partitions where history is kept for so long, and saves slower; make the partitions larger or REJOIN_KEEP_HISTORY shorter",
                self.period.as_str()
            );
        }
        let mut regularly = interval(CHECK_INTERVAL);
        regularly.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown
            .run_until_cancelled(regularly.tick())
            .await
            .is_some()
        {
            match shutdown.run_until_cancelled(self.work()).await {
                Some(Ok(true)) => {}
                Some(Ok(false)) => tracing::warn!(
                    "history is in use for long, so that its partitions wait; trying again in an hour"
                ),
                Some(Err(error)) => tracing::warn!(
                    error = %error.with_sources(),
                    "could not see to the partitions of history, which goes to the default one where it has none; trying again in an hour"
                ),
                None => return,
            }
        }
    }

    /// How many partitions there will be; none where their number grows without a bound. A hundred
    /// years have few months.
    fn partitions(&self) -> Option<u64> {
        let period = match self.period {
            PartitionPeriod::Day => Duration::from_hours(24),
            PartitionPeriod::Week => Duration::from_hours(7 * 24),
            PartitionPeriod::Month => return Some(0),
        };
        let kept = self.keep?.as_secs().div_ceil(period.as_secs());
        Some(kept + u64::from(self.period.ahead()))
    }

    /// Makes and drops partitions, unless another replica does or has within a day. Returns false
    /// where history was in use for as long as it tried.
    ///
    /// # Errors
    /// [`StoreError`]; what was done until then stays.
    pub async fn work(&self) -> Result<bool, StoreError> {
        let take = self.store.take_duty(Duty::Partitions, EVERY, LEASE.length);
        if !take.await? {
            return Ok(true);
        }
        let renew = || self.store.renew_duty(Duty::Partitions, LEASE.length);
        tokio::select! {
            is_finished = self.make_and_drop() => {
                let is_finished = is_finished?;
                if is_finished {
                    self.store.finish_duty(Duty::Partitions).await?;
                }
                Ok(is_finished)
            }
            // Another replica may have begun.
            () = LEASE.lost(renew) => Ok(true),
        }
    }

    async fn make_and_drop(&self) -> Result<bool, StoreError> {
        let all_made = self.make().await?;
        let all_dropped = match self.keep {
            Some(keep) => self.drop(keep).await?,
            None => true,
        };
        Ok(all_made && all_dropped)
    }

    /// Makes the partitions of the present and the coming time that are missing. Returns false where
    /// history was in use for as long as it tried.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn make(&self) -> Result<bool, StoreError> {
        let make = || self.store.make_partition(self.period, self.clock.now());
        repeat(make, |partition| {
            tracing::info!(partition, "made a partition of history");
        })
        .await
    }

    /// Drops what is older, and deletes what has no partition any more.
    async fn drop(&self, keep: Duration) -> Result<bool, StoreError> {
        let all_dropped = repeat(
            || self.store.drop_partition(keep),
            |partition| {
                tracing::info!(
                    partition,
                    "dropped a partition of history, which is older than REJOIN_KEEP_HISTORY"
                );
                DROPPED_PARTITIONS.of(&()).increment(1);
            },
        );
        let all_dropped = all_dropped.await?;
        loop {
            let deleted = self.store.delete_late_history(keep).await?;
            if deleted == 0 {
                return Ok(all_dropped);
            }
            COMPACTED_ROWS
                .of(&CompactedTable::Snapshots)
                .increment(deleted);
            sleep(PAUSE).await;
        }
    }
}

/// Repeats a step until nothing is left to do, or history was in use at too many attempts in a row:
/// then it returns false.
async fn repeat<F>(step: impl Fn() -> F, done: impl Fn(&str)) -> Result<bool, StoreError>
where
    F: Future<Output = Result<PartitionStep, StoreError>>,
{
    let mut retries = 0;
    loop {
        match step().await? {
            PartitionStep::Finished => return Ok(true),
            PartitionStep::Done(partition) => {
                done(&partition);
                retries = 0;
                sleep(PAUSE).await;
            }
            PartitionStep::InUse if retries == MAX_RETRIES_IN_USE => return Ok(false),
            PartitionStep::InUse => {
                sleep(PAUSES_IN_USE.pause(retries)).await;
                retries += 1;
            }
        }
    }
}
