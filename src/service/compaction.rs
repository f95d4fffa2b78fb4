//! Compaction: once a day, one replica deletes rows that are old and that no answer needs any more.

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

/// Deletes rows that no answer needs any more: see `docs/operations.md`. Cheap to clone.
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
                Some(Ok(rows)) if rows > 0 => {
                    tracing::info!(rows, "deleted rows that no answer needs any more");
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => tracing::warn!(
                    error = %error.with_sources(),
                    "could not delete rows that no answer needs any more; trying again in an hour"
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
            deleted = self.compact_all() => {
                let deleted = deleted?;
                self.store.finish_duty(Duty::Compaction).await?;
                Ok(deleted)
            }
            // Another replica may have begun.
            () = LEASE.lost(renew) => Ok(0),
        }
    }

    /// Peers first: what goes of them may be all that an end of a session or a claim was kept for.
    async fn compact_all(&self) -> Result<u64, StoreError> {
        let (store, keep) = (&self.store, self.keep_peers);
        let peers = compact(CompactedTable::Peers, |position| {
            store.compact_peers(keep, position)
        });
        let peers = peers.await?;
        let session_ends = compact(CompactedTable::SessionEnds, |position| {
            store.compact_session_ends(keep, position)
        });
        let session_ends = session_ends.await?;
        let resumes = compact(CompactedTable::Resumes, |position| {
            store.compact_resumes(keep, position)
        });
        let resumes = resumes.await?;
        let reconciliations = store.delete_old_reconciliations().await?;
        COMPACTED_ROWS
            .of(&CompactedTable::Reconciliations)
            .increment(reconciliations);
        Ok(peers + session_ends + resumes + reconciliations)
    }
}

/// Compacts a table, step by step. Returns how many rows went.
async fn compact<Position, F>(
    table: CompactedTable,
    step: impl Fn(Option<Position>) -> F,
) -> Result<u64, StoreError>
where
    F: Future<Output = Result<CompactionStep<Position>, StoreError>>,
{
    let (mut all, mut position) = (0, None);
    loop {
        let CompactionStep {
            deleted,
            position: next,
        } = step(position).await?;
        all += deleted;
        COMPACTED_ROWS.of(&table).increment(deleted);
        if next.is_none() {
            return Ok(all);
        }
        position = next;
        sleep(PAUSE).await;
    }
}
