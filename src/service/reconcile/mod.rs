//! Reconciling: every replica gives signs of life, and when there was none for so long that webhooks
//! were lost, one replica has 100ms send them again, looks at all active rooms, and corrects the
//! presence of peers that are not there any more.
//!
//! `worker` gives the signs of life and takes what is to be reconciled; `steps` does it, `replays` the
//! first part of it. `patience` repeats what fails for a while, and `progress` says how far it is.

mod patience;
mod progress;
mod replays;
mod steps;
mod worker;

use std::sync::Arc;

use uuid::Uuid;

use super::Service;
use crate::domain::{ReconciliationReport, Timestamp};
use crate::store::StoreError;

pub use worker::ReconcileWorker;

impl Service {
    /// Asks for what 100ms could not deliver from `since` to `until`. A replica does it. None if `since`
    /// is not before `until`, or now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn add_reconciliation(
        &self,
        since: Timestamp,
        until: Option<Timestamp>,
        requested_by: Option<Arc<str>>,
    ) -> Result<Option<ReconciliationReport>, StoreError> {
        self.store
            .add_reconciliation(since, until, requested_by)
            .await
    }

    /// At most `limit` reconciliations, newest first, those before this one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn reconciliations(
        &self,
        before: Option<Uuid>,
        limit: u16,
    ) -> Result<Vec<ReconciliationReport>, StoreError> {
        self.store.reconciliations(before, limit).await
    }

    /// The reconciliation of this id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn reconciliation(
        &self,
        id: Uuid,
    ) -> Result<Option<ReconciliationReport>, StoreError> {
        self.store.reconciliation(id).await
    }
}
