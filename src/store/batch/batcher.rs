//! The queues of the batch workers, and what they may hold.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use super::queue::{LaneKind, QueueSender, queue};
use super::worker::run_worker;
use super::{Batch, Ticket};
use crate::metrics::GaugeSeries;
use crate::store::error::UnavailableReason;
use crate::store::metrics::QUEUE_DEPTH;
use crate::store::{Layout, StoreConfig, StoreError};
use crate::trace;

/// How long an item may take, its wait in the queue included: a little longer than a batch that
/// starts at once on a server that is frozen.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(6);
/// When to try again after the queue was full.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How many workers there are where the tables are distributed: a statement serves one user there, so
/// that more of them are needed at once.
pub(in crate::store) const DISTRIBUTED_WORKERS: usize = 16;

/// What an item takes of the capacity at least, in KiB, so that what is queued is done in time.
fn least_weight(layout: Layout) -> u32 {
    match layout {
        Layout::OneServer => 1,
        Layout::Distributed => 8,
    }
}

/// The capacity of bulk is this part of that of single items.
const BULK_PART: u32 = 4;

/// Collects items into batches of one kind.
pub(in crate::store) struct Batcher<B: Batch> {
    batch: Arc<B>,
    /// How many of the queues are used where the tables are on one server.
    workers: usize,
    queues: Vec<QueueSender<B>>,
    /// For single items. Bulk has a capacity of its own, so that it never takes the last of this.
    single: Capacity,
    bulk: Capacity,
    hasher: RandomState,
    depth: GaugeSeries,
}

impl<B: Batch> Batcher<B> {
    /// Starts the workers. They end when this value is dropped and all queued items are answered.
    pub(in crate::store) fn start(batch: B, workers: usize, config: &StoreConfig) -> Self {
        let batch = Arc::new(batch);
        let depth = QUEUE_DEPTH.of(&B::QUEUE);
        let queues = (0..workers.max(DISTRIBUTED_WORKERS))
            .map(|_| {
                let (sender, queue) = queue();
                let worker = run_worker(batch.clone(), queue, config.max_batch, depth.clone());
                tokio::spawn(worker);
                sender
            })
            .collect();
        Self {
            batch,
            workers: workers.max(1),
            queues,
            single: Capacity::new(config.queue_capacity_kib),
            bulk: Capacity::new(config.queue_capacity_kib / BULK_PART),
            hasher: RandomState::new(),
            depth,
        }
    }

    /// Queues `item` and returns its result. All items of one key go through one worker, in order.
    ///
    /// A queued item runs even if the caller stops waiting, unless [`Batch::SKIPS_ABANDONED`].
    ///
    /// # Errors
    /// [`StoreError::Overloaded`] at once where the queues are full, [`StoreError::Unavailable`]
    /// where the answer takes too long, else what the batch returns.
    pub(in crate::store) async fn submit(
        &self,
        key: &str,
        item: B::Item,
    ) -> Result<B::Output, StoreError> {
        let size = B::size(&item);
        let capacity = self.single.try_acquire(self.weight(size))?;
        self.enqueue(LaneKind::Single, key, item, size, capacity)
            .await
    }

    /// As [`Batcher::submit`], for one of the many items of one caller: waits while bulk has no
    /// capacity, and lets single items go first.
    pub(in crate::store) async fn submit_bulk(
        &self,
        key: &str,
        item: B::Item,
    ) -> Result<B::Output, StoreError> {
        let size = B::size(&item);
        let capacity = self.bulk.acquire(self.weight(size)).await?;
        self.enqueue(LaneKind::Bulk, key, item, size, capacity)
            .await
    }

    async fn enqueue(
        &self,
        lane: LaneKind,
        key: &str,
        item: B::Item,
        size: usize,
        capacity: OwnedSemaphorePermit,
    ) -> Result<B::Output, StoreError> {
        let (sender, receiver) = oneshot::channel();
        self.depth.increment(1.0);
        let ticket = Ticket {
            item,
            size,
            sender,
            capacity,
            span: trace::current(),
        };
        if !self.queue_of(key).send(lane, ticket) {
            return Err(UnavailableReason::TaskEnded.into());
        }
        timeout(ANSWER_TIMEOUT, receiver)
            .await
            .map_err(|_| UnavailableReason::AnswerTimeout(ANSWER_TIMEOUT))?
            .map_err(|_| UnavailableReason::TaskEnded)?
    }

    /// What an item of `size` bytes takes of the capacity, in KiB.
    fn weight(&self, size: usize) -> u32 {
        let kib = u32::try_from(size.div_ceil(1 << 10)).unwrap_or(u32::MAX);
        kib.max(least_weight(self.batch.layout()))
    }

    fn queue_of(&self, key: &str) -> &QueueSender<B> {
        let queues = match self.batch.layout() {
            Layout::OneServer => self.workers,
            Layout::Distributed => self.queues.len(),
        };
        let index = usize::try_from(self.hasher.hash_one(key) % queues as u64)
            .expect("it is less than the number of queues");
        &self.queues[index]
    }
}

/// What queued items may weigh together, in KiB.
struct Capacity {
    free_kib: Arc<Semaphore>,
    all_kib: u32,
}

impl Capacity {
    fn new(kib: u32) -> Self {
        let all_kib = kib.max(1);
        Self {
            free_kib: Arc::new(Semaphore::new(all_kib as usize)),
            all_kib,
        }
    }

    fn try_acquire(&self, kib: u32) -> Result<OwnedSemaphorePermit, StoreError> {
        let free = Arc::clone(&self.free_kib);
        free.try_acquire_many_owned(kib.min(self.all_kib))
            .map_err(|_| StoreError::Overloaded {
                retry_after: RETRY_AFTER,
            })
    }

    async fn acquire(&self, kib: u32) -> Result<OwnedSemaphorePermit, StoreError> {
        let free = Arc::clone(&self.free_kib);
        free.acquire_many_owned(kib.min(self.all_kib))
            .await
            .map_err(|_| UnavailableReason::TaskEnded.into())
    }
}
