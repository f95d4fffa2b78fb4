//! Leases: what a worker has taken is its own for as long as it renews that.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::store::StoreError;

/// A lease that a worker renews while it works.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lease {
    /// How long a worker has what it took, unless it renews that.
    pub(super) length: Duration,
    /// How long a worker goes on that cannot renew it: not until another may take it.
    pub(super) max_unrenewed: Duration,
}

impl Lease {
    /// Renews the lease again and again, and completes when it is lost. `renew` returns false where
    /// somebody else has it meanwhile.
    pub(super) async fn lost<F>(self, renew: impl Fn() -> F)
    where
        F: Future<Output = Result<bool, StoreError>>,
    {
        let mut renewed_at = Instant::now();
        loop {
            sleep(self.length / 4).await;
            let sent_at = Instant::now();
            match renew().await {
                Ok(true) => renewed_at = sent_at,
                Ok(false) => return,
                Err(_) if renewed_at.elapsed() > self.max_unrenewed => return,
                Err(_) => {}
            }
        }
    }
}
