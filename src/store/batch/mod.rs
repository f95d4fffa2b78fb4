//! Group commit: a few batch workers, each with one statement in flight. What arrives meanwhile
//! forms the next batch.
//!
//! There is no timer: a lone item is not held back. This module knows no SQL. A [`Batch`] says how
//! its items run; [`Batcher`] queues them and bounds the queues; [`worker`] runs them.

mod batcher;
mod worker;

pub(super) use self::batcher::Batcher;
use super::StoreError;

/// Runs batches of items.
pub(super) trait Batch: Send + Sync + 'static {
    /// What is queued.
    type Item: Send + 'static;
    /// The result of one item.
    type Output: Send + 'static;
    /// The name in metrics.
    const NAME: &'static str;
    /// Whether an item is skipped once nobody waits for it any more.
    const SKIPS_ABANDONED: bool;

    /// The size of an item, in bytes. Large items make small batches.
    fn size(item: &Self::Item) -> usize;

    /// Runs a batch and returns one result for each item, in order.
    fn run(
        &self,
        items: Vec<Self::Item>,
    ) -> impl Future<Output = Vec<Result<Self::Output, StoreError>>> + Send;
}
