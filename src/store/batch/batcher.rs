//! The queues of the batch workers, and what they may hold.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use metrics::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::Batch;
use super::worker::{QueuedItem, run_worker};
use crate::metrics::QUEUE_DEPTH;
use crate::store::error::UnavailableReason;
use crate::store::{StoreConfig, StoreError};

/// How long an item may take, its wait in the queue included: a little longer than a batch that
/// starts at once on a server that is frozen.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(6);
/// When to try again after the queue was full.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Collects items into batches of one kind.
pub(in crate::store) struct Batcher<B: Batch> {
    queues: Vec<mpsc::UnboundedSender<QueuedItem<B>>>,
    /// What is left of the capacity of all queues together, in KiB.
    free_kib: Arc<Semaphore>,
    capacity_kib: u32,
    hasher: RandomState,
    depth: Gauge,
}

impl<B: Batch> Batcher<B> {
    /// Starts the workers. They end when this value is dropped and all queued items are answered.
    pub(in crate::store) fn start(batch: B, workers: usize, config: &StoreConfig) -> Self {
        let batch = Arc::new(batch);
        let depth = metrics::gauge!(QUEUE_DEPTH, "queue" => B::NAME);
        let queues = (0..workers.max(1))
            .map(|_| {
                let (sender, receiver) = mpsc::unbounded_channel();
                let worker = run_worker(batch.clone(), receiver, config.max_batch, depth.clone());
                tokio::spawn(worker);
                sender
            })
            .collect();
        Self {
            queues,
            free_kib: Arc::new(Semaphore::new(config.queue_capacity_kib as usize)),
            capacity_kib: config.queue_capacity_kib,
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
        let capacity = Arc::clone(&self.free_kib)
            .try_acquire_many_owned(self.weight(size))
            .map_err(|_| StoreError::Overloaded {
                retry_after: RETRY_AFTER,
            })?;
        self.enqueue(key, item, size, capacity).await
    }

    /// As [`Batcher::submit`], but waits while the queues are full: for one caller with many items,
    /// whose own items would fill them.
    pub(in crate::store) async fn submit_when_free(
        &self,
        key: &str,
        item: B::Item,
    ) -> Result<B::Output, StoreError> {
        let size = B::size(&item);
        let capacity = Arc::clone(&self.free_kib)
            .acquire_many_owned(self.weight(size))
            .await
            .map_err(|_| UnavailableReason::TaskEnded)?;
        self.enqueue(key, item, size, capacity).await
    }

    /// What an item of `size` bytes takes of the capacity, in KiB: at least one, at most all of it.
    fn weight(&self, size: usize) -> u32 {
        u32::try_from(size.div_ceil(1 << 10))
            .unwrap_or(u32::MAX)
            .clamp(1, self.capacity_kib)
    }

    async fn enqueue(
        &self,
        key: &str,
        item: B::Item,
        size: usize,
        capacity: OwnedSemaphorePermit,
    ) -> Result<B::Output, StoreError> {
        let (sender, receiver) = oneshot::channel();
        self.depth.increment(1.0);
        let queued = self.queue_of(key).send(QueuedItem {
            item,
            size,
            sender,
            capacity,
        });
        queued.map_err(|_| UnavailableReason::TaskEnded)?;
        timeout(ANSWER_TIMEOUT, receiver)
            .await
            .map_err(|_| UnavailableReason::AnswerTimeout(ANSWER_TIMEOUT))?
            .map_err(|_| UnavailableReason::TaskEnded)?
    }

    fn queue_of(&self, key: &str) -> &mpsc::UnboundedSender<QueuedItem<B>> {
        let queues = self.queues.len() as u64;
        let index = usize::try_from(self.hasher.hash_one(key) % queues)
            .expect("it is less than the number of queues");
        &self.queues[index]
    }
}
