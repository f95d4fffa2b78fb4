//! A batch worker: takes what is queued, up to the size of a batch, and runs it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use metrics::{Gauge, Histogram};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::Batch;
use crate::metrics::BATCH_SIZE;
use crate::store::StoreError;

/// The largest batch, in bytes, unless a single item is larger.
const MAX_BATCH_BYTES: usize = 8 << 20;

pub(super) struct QueuedItem<B: Batch> {
    pub(super) item: B::Item,
    pub(super) size: usize,
    pub(super) sender: oneshot::Sender<Result<B::Output, StoreError>>,
    /// What the item takes of the capacity, until it is answered.
    pub(super) capacity: OwnedSemaphorePermit,
}

pub(super) async fn run_worker<B: Batch>(
    batch: Arc<B>,
    mut queue: mpsc::UnboundedReceiver<QueuedItem<B>>,
    max_batch: usize,
    depth: Gauge,
) {
    let sizes = metrics::histogram!(BATCH_SIZE, "queue" => B::NAME);
    let mut left_over = None;
    loop {
        let first = match left_over.take() {
            None => queue.recv().await,
            some => some,
        };
        let Some(first) = first else {
            return;
        };
        // A lone item lets other tasks submit theirs first: right after a batch, those that it
        // answered. On an idle server this costs nothing. Where more is queued, it would.
        if queue.is_empty() {
            tokio::task::yield_now().await;
        }
        let (items, rest) = take_batch(first, &mut queue, max_batch);
        left_over = rest;
        run_batch(&*batch, items, &depth, &sizes).await;
    }
}

/// `first` and what is queued behind it, up to the size of a batch, and the item that did not fit.
fn take_batch<B: Batch>(
    first: QueuedItem<B>,
    queue: &mut mpsc::UnboundedReceiver<QueuedItem<B>>,
    max_batch: usize,
) -> (Vec<QueuedItem<B>>, Option<QueuedItem<B>>) {
    let mut bytes = first.size;
    let mut items = vec![first];
    while items.len() < max_batch {
        let Ok(next) = queue.try_recv() else { break };
        bytes += next.size;
        if bytes > MAX_BATCH_BYTES {
            return (items, Some(next));
        }
        items.push(next);
    }
    (items, None)
}

async fn run_batch<B: Batch>(
    batch: &B,
    mut queued_items: Vec<QueuedItem<B>>,
    depth: &Gauge,
    sizes: &Histogram,
) {
    #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
    let size = queued_items.len() as f64;
    depth.decrement(size);
    queued_items.retain(|queued| !B::SKIPS_ABANDONED || !queued.sender.is_closed());
    if queued_items.is_empty() {
        return;
    }
    sizes.record(size);
    let (items, waiting): (Vec<_>, Vec<_>) = queued_items
        .into_iter()
        .map(|queued| (queued.item, (queued.sender, queued.capacity)))
        .unzip();
    // A panic fails its batch, whose senders are dropped, and not the worker.
    let results = AssertUnwindSafe(batch.run(items))
        .catch_unwind()
        .await
        .unwrap_or_default();
    for ((sender, _capacity), result) in waiting.into_iter().zip(results) {
        // The caller may have stopped waiting. What was done is done.
        let _ = sender.send(result);
    }
}
