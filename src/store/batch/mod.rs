//! Group commit: a few lanes, each with one statement in flight; what arrives meanwhile forms the next batch.
//!
//! No timer: a lone item waits for nothing. Lanes know nothing of SQL; they are given the function that runs a batch.

use std::hash::{BuildHasher, RandomState};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use metrics::{Gauge, Histogram};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::{StoreConfig, StoreError};
use crate::metrics::{BATCH_SIZE, QUEUE_DEPTH};

/// How much one statement takes, in bytes, unless a single item is larger.
const MAX_BATCH_BYTES: usize = 8 << 20;
/// How long the answer to an item may take, its wait in the queue included: little more than a batch that runs when it
/// arrives and finds the server frozen.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(6);
/// What is told to those who find the queue full.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Runs a batch: one result for each item, in order.
pub(super) trait Batch: Send + Sync + 'static {
    /// What waits.
    type Item: Send + 'static;
    /// What it becomes.
    type Answer: Send + 'static;
    /// The name in metrics.
    const NAME: &'static str;
    /// Whether an item is left out once nobody waits for it any more.
    const ONLY_AWAITED: bool;

    /// The size of an item, in bytes: large items make small batches.
    fn size(item: &Self::Item) -> usize;

    /// Runs a batch.
    fn run(
        &self,
        items: Vec<Self::Item>,
    ) -> impl Future<Output = Vec<Result<Self::Answer, StoreError>>> + Send;
}

struct Waiting<B: Batch> {
    item: B::Item,
    size: usize,
    answer: oneshot::Sender<Result<B::Answer, StoreError>>,
    /// Its room in the queue, given back when it is answered.
    room: OwnedSemaphorePermit,
}

/// The lanes of one kind of statement.
pub(super) struct Lanes<B: Batch> {
    queues: Vec<mpsc::UnboundedSender<Waiting<B>>>,
    /// Bounds what waits in all lanes, in KiB.
    room: Arc<Semaphore>,
    capacity: u32,
    hasher: RandomState,
    depth: Gauge,
}

impl<B: Batch> Lanes<B> {
    /// Starts `count` lanes. They stop when this value is dropped and everything accepted is answered.
    pub(super) fn start(batch: B, count: usize, config: &StoreConfig) -> Self {
        let (batch, max_batch) = (Arc::new(batch), config.max_batch);
        let capacity = config.max_waiting_kib;
        let room = Arc::new(Semaphore::new(capacity as usize));
        let depth = metrics::gauge!(QUEUE_DEPTH, "queue" => B::NAME);
        let queues = (0..count.max(1))
            .map(|_| {
                let (sender, receiver) = mpsc::unbounded_channel();
                tokio::spawn(run_lane(batch.clone(), receiver, max_batch, depth.clone()));
                sender
            })
            .collect();
        Self {
            queues,
            room,
            capacity,
            hasher: RandomState::new(),
            depth,
        }
    }

    /// Waits for the answer to `item`, in the lane of `key`; all items of one key go through one lane, in order.
    ///
    /// An item that was accepted is carried out even if the caller stops waiting, unless [`Batch::ONLY_AWAITED`].
    ///
    /// # Errors
    /// [`StoreError::Overloaded`] at once where the queue is full, [`StoreError::Unavailable`] where the answer takes too
    /// long, else what the batch says.
    pub(super) async fn submit(&self, key: &str, item: B::Item) -> Result<B::Answer, StoreError> {
        let size = B::size(&item);
        let room = Arc::clone(&self.room)
            .try_acquire_many_owned(self.weight(size))
            .map_err(|_| StoreError::Overloaded {
                retry_after: RETRY_AFTER,
            })?;
        self.answered(key, item, size, room).await
    }

    /// As [`Lanes::submit`], but waits for room: for one caller with many items, who must not be refused for its own sake.
    pub(super) async fn submit_patiently(
        &self,
        key: &str,
        item: B::Item,
    ) -> Result<B::Answer, StoreError> {
        let size = B::size(&item);
        let room = Arc::clone(&self.room)
            .acquire_many_owned(self.weight(size))
            .await
            .map_err(|_| closed())?;
        self.answered(key, item, size, room).await
    }

    /// What an item of `size` bytes takes of the queue, in KiB: at least one, and no more than fits.
    fn weight(&self, size: usize) -> u32 {
        u32::try_from(size.div_ceil(1 << 10))
            .unwrap_or(u32::MAX)
            .clamp(1, self.capacity)
    }

    async fn answered(
        &self,
        key: &str,
        item: B::Item,
        size: usize,
        room: OwnedSemaphorePermit,
    ) -> Result<B::Answer, StoreError> {
        let (answer, answered) = oneshot::channel();
        let queue = self.queue_of(key);
        self.depth.increment(1.0);
        let accepted = queue.send(Waiting {
            item,
            size,
            answer,
            room,
        });
        accepted.map_err(|_| closed())?;
        let late = |_| StoreError::Unavailable(format!("no answer within {ANSWER_TIMEOUT:?}"));
        timeout(ANSWER_TIMEOUT, answered)
            .await
            .map_err(late)?
            .map_err(|_| closed())?
    }

    fn queue_of(&self, key: &str) -> &mpsc::UnboundedSender<Waiting<B>> {
        let lanes = self.queues.len() as u64;
        let lane = usize::try_from(self.hasher.hash_one(key) % lanes)
            .expect("less than the number of lanes");
        &self.queues[lane]
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("what waited for it was dropped".to_owned())
}

async fn run_lane<B: Batch>(
    batch: Arc<B>,
    mut queue: mpsc::UnboundedReceiver<Waiting<B>>,
    max_batch: usize,
    depth: Gauge,
) {
    let sizes = metrics::histogram!(BATCH_SIZE, "queue" => B::NAME);
    let mut left_over = None;
    loop {
        let Some(first) = (match left_over.take() {
            None => queue.recv().await,
            some => some,
        }) else {
            return;
        };
        // Who is alone lets those submit whose turn it is anyway: right after a batch, all that it answered. Idle, it costs
        // nothing; but where others wait already, the server would.
        if queue.is_empty() {
            tokio::task::yield_now().await;
        }
        let (waiting, rest) = take_batch(first, &mut queue, max_batch);
        left_over = rest;
        run_batch(&*batch, waiting, &depth, &sizes).await;
    }
}

/// `first` and what waits behind it, up to the size of a batch; and the item that no longer fitted.
fn take_batch<B: Batch>(
    first: Waiting<B>,
    queue: &mut mpsc::UnboundedReceiver<Waiting<B>>,
    max_batch: usize,
) -> (Vec<Waiting<B>>, Option<Waiting<B>>) {
    let mut bytes = first.size;
    let mut taken = vec![first];
    while taken.len() < max_batch {
        let Ok(next) = queue.try_recv() else { break };
        bytes += next.size;
        if bytes > MAX_BATCH_BYTES {
            return (taken, Some(next));
        }
        taken.push(next);
    }
    (taken, None)
}

async fn run_batch<B: Batch>(
    batch: &B,
    mut waiting: Vec<Waiting<B>>,
    depth: &Gauge,
    sizes: &Histogram,
) {
    #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
    let size = waiting.len() as f64;
    depth.decrement(size);
    waiting.retain(|waiting| !B::ONLY_AWAITED || !waiting.answer.is_closed());
    if waiting.is_empty() {
        return;
    }
    sizes.record(size);
    let (items, answers): (Vec<_>, Vec<_>) = waiting
        .into_iter()
        .map(|waiting| (waiting.item, (waiting.answer, waiting.room)))
        .unzip();
    // A panic costs its batch, whose callers see their answer dropped, and not the lane.
    let results = AssertUnwindSafe(batch.run(items))
        .catch_unwind()
        .await
        .unwrap_or_default();
    for ((answer, _room), result) in answers.into_iter().zip(results) {
        // Nobody may be waiting any more; what was done is done.
        let _ = answer.send(result);
    }
}
