//! What large lists of peers take of the memory together is bounded.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::hms::HmsError;

/// Lists of at least this many bytes count as large.
pub(super) const LARGE_LIST_BYTES: usize = 256 << 10;
/// How long all large lists may be together, in bytes, from their first byte until their answer is
/// sent. They take up to twice as much memory: the list, and what was read of it.
const MAX_BYTES: usize = 40 << 20;
/// How long a large list waits until others are done.
const PATIENCE: Duration = Duration::from_secs(20);

/// The memory for large lists.
pub(super) struct ListMemory {
    free_kib: Arc<Semaphore>,
}

/// What a large list takes of the memory for lists, until this is dropped. A small one takes none.
#[derive(Debug, Default)]
pub struct ListPermit(Option<OwnedSemaphorePermit>);

impl ListMemory {
    pub(super) fn new() -> Self {
        Self {
            free_kib: Arc::new(Semaphore::new(MAX_BYTES >> 10)),
        }
    }

    /// Waits until a list of so many bytes may be read.
    ///
    /// # Errors
    /// [`HmsError::Overloaded`] when others take too long.
    pub(super) async fn acquire(&self, bytes: usize) -> Result<ListPermit, HmsError> {
        let permit = Arc::clone(&self.free_kib).acquire_many_owned(kib(bytes));
        match timeout(PATIENCE, permit).await {
            Ok(Ok(permit)) => Ok(ListPermit(Some(permit))),
            _ => Err(HmsError::Overloaded),
        }
    }
}

impl ListPermit {
    /// Whether the list is large.
    pub fn is_large(&self) -> bool {
        self.0.is_some()
    }

    /// Gives back what a list of so many bytes does not need.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        if let Some(permit) = &mut self.0 {
            let excess = permit.num_permits().saturating_sub(kib(bytes) as usize);
            drop(permit.split(excess));
        }
    }
}

/// What a list of so many bytes takes, in KiB: at most all that there is.
fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.clamp(1, MAX_BYTES).div_ceil(1 << 10)).expect("all of it fits")
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn large_lists_wait_for_each_other_and_give_back_what_they_do_not_need() {
        let memory = ListMemory::new();
        let mut of_unknown_length = memory.acquire(usize::MAX).await.unwrap();
        assert!(memory.acquire(1).now_or_never().is_none());
        of_unknown_length.shrink_to(MAX_BYTES / 2);
        let half = memory.acquire(MAX_BYTES / 2).await.unwrap();
        assert!(half.is_large() && !ListPermit::default().is_large());
        assert!(memory.acquire(1).now_or_never().is_none());
        let (waiting, ()) = tokio::join!(memory.acquire(MAX_BYTES), async {
            drop((half, of_unknown_length));
        });
        assert!(waiting.unwrap().is_large());
    }
}
