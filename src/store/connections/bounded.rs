//! Statements that go through no batcher, a bounded number of them at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{Database, Statement};
use crate::store::StoreError;
use crate::store::error::UnavailableReason;
use crate::trace::{self, Instrument};

/// How long a statement waits for its permit.
pub(in crate::store) const PERMIT_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs statements while permits last.
#[derive(Clone)]
pub(in crate::store) struct BoundedExecutor {
    database: Database,
    permits: Arc<Semaphore>,
    no_permit: StoreError,
}

impl BoundedExecutor {
    /// `no_permit` is the error of a statement that gets no permit in time.
    pub(in crate::store) fn new(
        database: Database,
        permits: usize,
        no_permit: impl Into<StoreError>,
    ) -> Self {
        Self {
            database,
            permits: Arc::new(Semaphore::new(permits)),
            no_permit: no_permit.into(),
        }
    }

    /// Runs a statement to its end, even if the caller stops waiting. The statement has its permit
    /// for as long as the server works on it.
    pub(in crate::store) async fn execute<S: Statement + 'static>(
        &self,
        statement: S,
    ) -> Result<S::Output, StoreError> {
        let permit = self.permits.clone().acquire_owned();
        let Ok(Ok(permit)) = timeout(PERMIT_TIMEOUT, permit).await else {
            return Err(self.no_permit.clone());
        };
        let database = self.database.clone();
        let work = async move {
            let _permit = permit;
            database.execute(&statement).await
        };
        let task = tokio::spawn(work.instrument(trace::current()));
        task.await
            .unwrap_or_else(|_| Err(UnavailableReason::TaskEnded.into()))
    }
}
