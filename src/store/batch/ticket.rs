//! A ticket: an item, and whoever waits for its result.

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::Span;

use super::Batch;
use crate::store::StoreError;

/// An item of a batch. Where it is dropped without an answer, its caller gets an error.
pub(in crate::store) struct Ticket<B: Batch> {
    pub(in crate::store) item: B::Item,
    pub(super) size: usize,
    pub(super) sender: oneshot::Sender<Result<B::Output, StoreError>>,
    /// What the item takes of the capacity, until it is answered.
    pub(super) capacity: OwnedSemaphorePermit,
    /// What the caller is doing.
    pub(super) span: Span,
}

impl<B: Batch> Ticket<B> {
    /// Answers the caller, who may have stopped waiting: what was done is done.
    pub(in crate::store) fn answer(self, result: Result<B::Output, StoreError>) {
        let _ = self.sender.send(result);
        drop(self.capacity);
    }

    /// Whether nobody waits for the answer any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.sender.is_closed()
    }
}
