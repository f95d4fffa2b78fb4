//! What came of a reconciliation so far.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::{Reconciled, Reconciliation, ReplayPiece};
use crate::hms::Replay;
use crate::store::{ReconciliationStep, Store, StoreError};

/// How often it is stored how far a reconciliation is, at most.
const STORE_INTERVAL: Duration = Duration::from_secs(1);

/// What came of a reconciliation so far, stored now and then for who waits for it.
pub(super) struct Progress<'a> {
    store: &'a Store,
    reconciliation: &'a Reconciliation,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    reconciled: Reconciled,
    stored_at: Option<Instant>,
}

impl<'a> Progress<'a> {
    pub(super) fn new(store: &'a Store, reconciliation: &'a Reconciliation) -> Self {
        Self {
            store,
            reconciliation,
            state: Mutex::default(),
        }
    }

    pub(super) fn reconciliation(&self) -> &Reconciliation {
        self.reconciliation
    }

    pub(super) fn reconciled(&self) -> Reconciled {
        self.with(|state| state.reconciled)
    }

    /// Changes it.
    pub(super) fn note(&self, change: impl FnOnce(&mut Reconciled)) {
        self.with(|state| change(&mut state.reconciled));
    }

    /// Stores it, unless that was done a moment ago.
    pub(super) async fn store(&self) {
        let reconciled = self.with(|state| {
            let is_due = state
                .stored_at
                .is_none_or(|at| at.elapsed() >= STORE_INTERVAL);
            is_due.then(|| {
                state.stored_at = Some(Instant::now());
                state.reconciled
            })
        });
        if let Some(reconciled) = reconciled {
            let step = ReconciliationStep::GoesOn;
            let stored = self
                .store
                .note_reconciliation(self.reconciliation, reconciled, step);
            // Where the database is away, requests log that.
            let _ = stored.await;
        }
    }

    /// The replay of a piece that an earlier attempt began.
    pub(super) fn begun_replay(&self, piece: ReplayPiece) -> Option<Replay> {
        let workflow_id = self.reconciliation.replays.get(&piece.to_string())?;
        Some(Replay {
            workflow_id: workflow_id.clone(),
        })
    }

    /// Notes the replay of a piece for later attempts; none where it is to be begun again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) async fn note_replay(
        &self,
        piece: ReplayPiece,
        replay: Option<&Replay>,
    ) -> Result<(), StoreError> {
        let workflow_id = replay.map(|replay| replay.workflow_id.clone());
        self.store
            .note_replay(self.reconciliation, piece, workflow_id)
            .await
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
