//! Group commit: a few batch workers, each with one statement in flight. What arrives meanwhile
//! forms the next batch.
//!
//! There is no timer: a lone item is not held back. This module knows no SQL. A [`Batch`] says how
//! its items run; [`Batcher`] queues them and bounds the queues; [`worker`] runs them; a [`Ticket`]
//! is an item with whoever waits for it, so that each is answered as soon as it is done.

mod batcher;
mod queue;
mod ticket;
mod worker;

use std::sync::Arc;

pub(super) use self::batcher::{Batcher, DISTRIBUTED_WORKERS};
pub(super) use self::ticket::Ticket;
use super::Layout;
use super::metrics::QueueName;

/// Runs batches of items.
pub(super) trait Batch: Send + Sync + Sized + 'static {
    /// What is queued.
    type Item: Send + 'static;
    /// The result of one item.
    type Output: Send + 'static;
    /// The name of the queue in metrics.
    const QUEUE: QueueName;
    /// Whether an item is skipped once nobody waits for it any more.
    const SKIPS_ABANDONED: bool;

    /// How the tables are laid out, as far as is known.
    fn layout(&self) -> Layout;

    /// The size of an item, in bytes. Large items make small batches.
    fn size(item: &Self::Item) -> usize;

    /// Runs a batch and answers each ticket. The worker's next batch starts when this returns: what
    /// has to wait for something else is moved to a task of its own.
    fn run(self: &Arc<Self>, tickets: Vec<Ticket<Self>>) -> impl Future<Output = ()> + Send;
}
