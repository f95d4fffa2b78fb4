//! The worker of this replica: it gives signs of life, and takes what is to be reconciled.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::steps::Attempt;
use crate::backoff::Backoff;
use crate::domain::{ProblemCode, Reconciliation};
use crate::service::Service;
use crate::service::lease::Lease;
use crate::service::metrics::{RECONCILIATIONS, ReconciliationOutcome};
use crate::store::ReconciliationStep;
use crate::trace::{Instrument, span};

/// How often a replica gives a sign of life, and looks for something to reconcile.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// How long a replica has a reconciliation, unless it renews that.
const LEASE: Duration = Duration::from_secs(30);
/// How long a replica goes on that cannot renew that.
const MAX_UNRENEWED: Duration = Duration::from_secs(25);

/// The pauses between attempts at a reconciliation.
const BETWEEN_ATTEMPTS: Backoff = Backoff {
    first: Duration::from_mins(1),
    longest: Duration::from_hours(1),
    factor: 4,
    jitter: 0.25,
};

/// The worker.
#[derive(Clone)]
pub struct ReconcileWorker {
    service: Service,
    replica: Uuid,
}

impl ReconcileWorker {
    /// A worker for this service, which is paced.
    pub fn new(service: &Service) -> Self {
        Self {
            service: service.clone(),
            replica: Uuid::now_v7(),
        }
    }

    /// Works until `shutdown`. What it has begun is left to another replica, or to the next start.
    pub async fn run(self, shutdown: CancellationToken) {
        let work = async { tokio::join!(self.give_signs_of_life(), self.reconcile_gaps()) };
        shutdown.run_until_cancelled(work).await;
    }

    async fn give_signs_of_life(&self) {
        let mut regularly = interval(SIGN_OF_LIFE);
        regularly.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            regularly.tick().await;
            // Where the database is away, requests log that.
            if let Ok(true) = self.service.store.sign_of_life(self.replica).await {
                tracing::warn!(
                    "no replica could write for a while; what 100ms could not deliver is asked for again"
                );
            }
        }
    }

    async fn reconcile_gaps(&self) {
        let mut regularly = interval(SIGN_OF_LIFE);
        regularly.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            regularly.tick().await;
            while let Ok(Some(reconciliation)) = self.service.store.take_reconciliation(LEASE).await
            {
                let work = self.work(&reconciliation);
                work.instrument(span!("reconciliation", otel.name = "reconciliation"))
                    .await;
            }
        }
    }

    async fn work(&self, reconciliation: &Reconciliation) {
        let lease = Lease {
            length: LEASE,
            max_unrenewed: MAX_UNRENEWED,
        };
        let attempt = tokio::select! {
            attempt = Box::pin(self.service.reconcile(reconciliation)) => attempt,
            () = lease.lost(|| self.service.store.renew_reconciliation(reconciliation, LEASE)) => {
                tracing::warn!("a reconciliation was lost to another replica");
                return;
            }
        };
        let step = if attempt.is_worth_another && reconciliation.is_tried_again() {
            let retry = u32::try_from(reconciliation.attempts - 1).unwrap_or_default();
            ReconciliationStep::TriedAgain(BETWEEN_ATTEMPTS.pause(retry))
        } else {
            ReconciliationStep::Finished
        };
        let noted =
            self.service
                .store
                .note_reconciliation(reconciliation, attempt.reconciled, step);
        if let Err(error) = noted.await {
            tracing::warn!(error = %error.with_sources(), "could not end a reconciliation; it is repeated");
            return;
        }
        report(&attempt, step);
    }
}

fn report(attempt: &Attempt, step: ReconciliationStep) {
    let reconciled = attempt.reconciled;
    let outcome = match reconciled.problem {
        None => ReconciliationOutcome::Done,
        Some(_) => ReconciliationOutcome::Incomplete,
    };
    RECONCILIATIONS.count(&outcome);
    let tried_again_after = match step {
        ReconciliationStep::TriedAgain(pause) => pause.as_secs(),
        ReconciliationStep::GoesOn | ReconciliationStep::Finished => 0,
    };
    tracing::info!(
        outcome = outcome.as_str(),
        problem = reconciled.problem.map_or("", ProblemCode::as_str),
        tried_again_after,
        replayed = reconciled.replayed,
        not_replayed = reconciled.not_replayed,
        rooms = reconciled.rooms,
        changes = reconciled.changes,
        corrected = reconciled.corrected,
        "what happened while no replica could write is reconciled"
    );
}
