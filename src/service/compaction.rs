//! Compaction: once a day, one replica deletes the rows of peers that ended long ago and that no
//! answer needs any more.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tokio_util::sync::CancellationToken;

use super::lease::Lease;
use super::metrics::{COMPACTED_ROWS, CompactedTable};
use crate::store::{CompactionStep, Duty, Store, StoreError};

/// Not in the rush of a start.
const START_AFTER: Duration = Duration::from_secs(10);
/// How often a replica asks whether it is time.
const CHECK_INTERVAL: Duration = Duration::from_hours(1);
/// How long after a compaction the next one begins.
const EVERY: Duration = Duration::from_hours(24);
/// Between two steps others have the database.
const PAUSE: Duration = Duration::from_millis(100);

const LEASE: Lease = Lease {
    length: Duration::from_mins(2),
    max_unrenewed: Duration::from_secs(90),
};

/// Deletes rows that no answer needs any more. Cheap to clone.
#[derive(Clone)]
pub struct CompactionWorker {
    store: Store,
    keep_peers: Duration,
}

impl CompactionWorker {
    /// One that keeps peers for so long.
    pub fn new(store: Store, keep_peers: Duration) -> Self {
        Self { store, keep_peers }
    }

    /// Works until `shutdown`. What is left then is found at the next compaction.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut regularly = interval_at(Instant::now() + START_AFTER, CHECK_INTERVAL);
        regularly.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown
            .run_until_cancelled(regularly.tick())
            .await
            .is_some()
        {
            match shutdown.run_until_cancelled(self.compact()).await {
                Some(Ok(peers)) if peers > 0 => {
                    tracing::info!(peers, "deleted peers that no answer needs any more");
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => tracing::warn!(
                    error = %error.with_sources(),
                    "could not delete peers that no answer needs any more; trying again in an hour"
                ),
                None => return,
            }
        }
    }

    /// Compacts, unless another replica does or has within a day. Returns how many rows went.
    ///
    /// # Errors
    /// [`StoreError`]; what went until then is gone.
    pub async fn compact(&self) -> Result<u64, StoreError> {
        if !self
            .store
            .take_duty(Duty::Compaction, EVERY, LEASE.length)
            .await?
        {
            return Ok(0);
        }
        let renew = || self.store.renew_duty(Duty::Compaction, LEASE.length);
        tokio::select! {
            deleted = self.compact_peers() => {
                let deleted = deleted?;
                self.store.finish_duty(Duty::Compaction).await?;
                Ok(deleted)
            }
            // Another replica may have begun.
            () = LEASE.lost(renew) => Ok(0),
        }
    }

    async fn compact_peers(&self) -> Result<u64, StoreError> {
        let (mut all, mut position) = (0, None);
        loop {
            let step = self.store.compact_peers(self.keep_peers, position);
            let CompactionStep {
                deleted,
                position: next,
            } = step.await?;
            all += deleted;
            COMPACTED_ROWS.of(&CompactedTable::Peers).increment(deleted);
            if next.is_none() {
                return Ok(all);
            }
            position = next;
            sleep(PAUSE).await;
        }
    }
}
