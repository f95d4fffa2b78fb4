//! The queue of one worker: a lane for single items and one for bulk. Single items go first, and
//! bulk gets a share of each batch.

use tokio::sync::mpsc;

use super::{Batch, Ticket};

/// The largest batch, in bytes, unless a single item is larger.
const MAX_BATCH_BYTES: usize = 8 << 20;
/// How much bulk there is in a batch, in bytes: single items that arrive meanwhile wait for it.
const MAX_BULK_BYTES: usize = 1 << 20;

/// Which lane of a queue an item takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LaneKind {
    Single,
    Bulk,
}

/// The end of a queue that callers have.
pub(super) struct QueueSender<B: Batch> {
    single: mpsc::UnboundedSender<Ticket<B>>,
    bulk: mpsc::UnboundedSender<Ticket<B>>,
}

impl<B: Batch> QueueSender<B> {
    /// Queues a ticket; false where the worker has ended.
    pub(super) fn send(&self, lane: LaneKind, ticket: Ticket<B>) -> bool {
        let sender = match lane {
            LaneKind::Single => &self.single,
            LaneKind::Bulk => &self.bulk,
        };
        sender.send(ticket).is_ok()
    }
}

/// The end of a queue that its worker has.
pub(super) struct Queue<B: Batch> {
    single: Lane<B>,
    bulk: Lane<B>,
}

/// A queue and its two ends.
pub(super) fn queue<B: Batch>() -> (QueueSender<B>, Queue<B>) {
    let (single_sender, single) = mpsc::unbounded_channel();
    let (bulk_sender, bulk) = mpsc::unbounded_channel();
    let sender = QueueSender {
        single: single_sender,
        bulk: bulk_sender,
    };
    let queue = Queue {
        single: Lane::new(single),
        bulk: Lane::new(bulk),
    };
    (sender, queue)
}

impl<B: Batch> Queue<B> {
    /// The next batch, of up to `max_batch` items; none once the senders are gone and nothing is
    /// left.
    pub(super) async fn next_batch(&mut self, max_batch: usize) -> Option<Vec<Ticket<B>>> {
        tokio::select! {
            biased;
            true = self.single.has_next() => {}
            true = self.bulk.has_next() => {}
            else => return None,
        }
        // A lone item lets other tasks submit theirs first: right after a batch, those that it
        // answered. On an idle server this costs nothing. Where more is queued, it would.
        if self.single.receiver.is_empty() && self.bulk.receiver.is_empty() {
            tokio::task::yield_now().await;
        }
        Some(self.take_batch(max_batch))
    }

    fn take_batch(&mut self, max_batch: usize) -> Vec<Ticket<B>> {
        let bulk_share = if self.bulk.is_waiting() {
            max_batch / 4
        } else {
            0
        };
        let mut batch = Vec::new();
        self.single
            .take(&mut batch, max_batch - bulk_share, MAX_BATCH_BYTES);
        let max_items = match batch.len() {
            0 => max_batch,
            singles => singles + bulk_share,
        };
        self.bulk.take(&mut batch, max_items, MAX_BULK_BYTES);
        batch
    }
}

struct Lane<B: Batch> {
    receiver: mpsc::UnboundedReceiver<Ticket<B>>,
    /// The next ticket, where it was received already.
    next: Option<Ticket<B>>,
}

impl<B: Batch> Lane<B> {
    fn new(receiver: mpsc::UnboundedReceiver<Ticket<B>>) -> Self {
        Self {
            receiver,
            next: None,
        }
    }

    /// Waits for a ticket; false where there will be none.
    async fn has_next(&mut self) -> bool {
        if self.next.is_none() {
            self.next = self.receiver.recv().await;
        }
        self.next.is_some()
    }

    fn is_waiting(&self) -> bool {
        self.next.is_some() || !self.receiver.is_empty()
    }

    /// Moves tickets to a batch until it has `max_items`, or these have `max_bytes` and the next
    /// one does not fit.
    fn take(&mut self, batch: &mut Vec<Ticket<B>>, max_items: usize, max_bytes: usize) {
        let mut bytes = 0;
        while batch.len() < max_items {
            let next = self.next.take().or_else(|| self.receiver.try_recv().ok());
            let Some(next) = next else { return };
            if bytes > 0 && bytes + next.size > max_bytes {
                self.next = Some(next);
                return;
            }
            bytes += next.size;
            batch.push(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::{Semaphore, oneshot};

    use super::*;
    use crate::store::metrics::QueueName;
    use crate::store::{Layout, StoreError};

    struct Numbers;

    impl Batch for Numbers {
        type Item = u32;
        type Output = ();
        const QUEUE: QueueName = QueueName::Save;
        const SKIPS_ABANDONED: bool = false;

        fn layout(&self) -> Layout {
            Layout::OneServer
        }

        fn size(_: &u32) -> usize {
            0
        }

        async fn run(self: &Arc<Self>, _: Vec<Ticket<Self>>) {}
    }

    type Answer = Result<(), StoreError>;

    fn ticket(item: u32, size: usize) -> Ticket<Numbers> {
        let (sender, _): (oneshot::Sender<Answer>, _) = oneshot::channel();
        let semaphore = Arc::new(Semaphore::new(1));
        Ticket {
            item,
            size,
            sender,
            capacity: semaphore.try_acquire_owned().unwrap(),
            span: tracing::Span::none(),
        }
    }

    async fn next_items(queue: &mut Queue<Numbers>, max_batch: usize) -> Vec<u32> {
        let batch = queue.next_batch(max_batch).await.unwrap();
        batch.iter().map(|ticket| ticket.item).collect()
    }

    #[tokio::test]
    async fn single_items_go_first_and_bulk_gets_a_quarter() {
        let (sender, mut queue) = queue::<Numbers>();
        for item in 0..10 {
            sender.send(LaneKind::Bulk, ticket(100 + item, 1));
        }
        for item in 0..8 {
            sender.send(LaneKind::Single, ticket(item, 1));
        }
        assert_eq!(
            next_items(&mut queue, 8).await,
            [0, 1, 2, 3, 4, 5, 100, 101]
        );
        assert_eq!(next_items(&mut queue, 8).await, [6, 7, 102, 103]);
        assert_eq!(
            next_items(&mut queue, 8).await,
            [104, 105, 106, 107, 108, 109]
        );
        drop(sender);
        assert!(queue.next_batch(8).await.is_none());
    }

    #[tokio::test]
    async fn a_batch_ends_before_the_item_that_makes_it_too_large() {
        let (sender, mut queue) = queue::<Numbers>();
        for item in 0..3 {
            sender.send(LaneKind::Single, ticket(item, 3 << 20));
            sender.send(LaneKind::Bulk, ticket(100 + item, 600 << 10));
        }
        assert_eq!(next_items(&mut queue, 512).await, [0, 1, 100]);
        assert_eq!(next_items(&mut queue, 512).await, [2, 101]);
        assert_eq!(next_items(&mut queue, 512).await, [102]);
    }

    #[tokio::test]
    async fn batches_of_one_take_single_items_first() {
        let (sender, mut queue) = queue::<Numbers>();
        sender.send(LaneKind::Bulk, ticket(100, 1));
        sender.send(LaneKind::Single, ticket(0, 1));
        assert_eq!(next_items(&mut queue, 1).await, [0]);
        assert_eq!(next_items(&mut queue, 1).await, [100]);
    }
}
