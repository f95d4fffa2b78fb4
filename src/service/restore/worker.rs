//! The restore worker: takes the jobs that joins have queued, and attempts each until it is done.
//!
//! Any replica's worker takes any job, for a lease. Should the worker die, another takes the job
//! when the lease ends. Every job is a task of its own. One that waits for a leave is made due by
//! that leave, and looks again by itself only now and then.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::automatic::{Attempt, Progress, automatic_record};
use crate::backoff::Backoff;
use crate::domain::{
    ProblemCode, RestoreJob, RestoreOutcome, RestorePolicy, SavedState, Timestamp,
};
use crate::hms::HmsError;
use crate::service::metrics::{Cause, RESTORES};
use crate::service::{RestoreError, Service};
use crate::store::StoreError;
use crate::trace::{Instrument, span};

/// How many jobs one worker runs at the same time. Each has at most one request to 100ms in flight,
/// so this leaves a quarter of the client's permits to those who ask for something now.
const MAX_CONCURRENT_JOBS: usize = 48;
/// How many jobs are taken at once, except where fewer are running or due.
const MIN_TAKEN: usize = 12;
/// How long an idle worker waits before it looks for jobs, unless it is woken.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// How long a job waits for its peer, once 100ms has answered that it is not there: 100ms reports a
/// join before the peer can be fetched.
const PEER_WAIT: TimeDelta = TimeDelta::seconds(30);
/// How long a job waits for the state of the peer before, or for its drop: 100ms lists a ghost for
/// about 60 s, and may retry its leave event for another 10.
const STATE_WAIT: TimeDelta = TimeDelta::seconds(120);
/// How long a job may take beside its two calls to 100ms.
const JOB_OVERHEAD: Duration = Duration::from_secs(5);
/// The pauses between the attempts of a job. With jitter, players that dropped together do not
/// retry together.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(250),
    longest: Duration::from_secs(5),
    factor: 2,
    jitter: 0.25,
};
/// The pauses of a job that a leave makes due.
const WAKEABLE_BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(500),
    longest: Duration::from_secs(20),
    factor: 2,
    jitter: 0.25,
};

/// The worker.
#[derive(Clone)]
pub struct RestoreWorker {
    service: Service,
    policy: RestorePolicy,
    wake: Arc<Notify>,
    /// How long an attempt may take. It ends before its lease does, so that no two workers send at
    /// the same time.
    budget: Duration,
}

/// What becomes of a job after an attempt.
enum Next {
    /// Another attempt.
    Again {
        due: Timestamp,
        /// Whether a leave makes it due earlier.
        wakeable: bool,
    },
    /// It ends.
    End(RestoreOutcome),
}

impl RestoreWorker {
    /// A worker for this service, whose calls to 100ms take at most `upstream_timeout`. `wake` is
    /// notified of new jobs, and of leaves.
    pub fn new(
        service: &Service,
        policy: RestorePolicy,
        upstream_timeout: Duration,
        wake: Arc<Notify>,
    ) -> Self {
        Self {
            service: service.in_background(),
            policy,
            wake,
            budget: upstream_timeout * 2 + JOB_OVERHEAD,
        }
    }

    /// Works until `shutdown`, then finishes the attempts it has begun.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut running = JoinSet::new();
        loop {
            let capacity = MAX_CONCURRENT_JOBS - running.len();
            let takes = capacity >= MIN_TAKEN && !shutdown.is_cancelled();
            let jobs = if takes {
                self.take_jobs(capacity).await
            } else {
                Vec::new()
            };
            // Where all of the capacity was used, more jobs may be due already.
            let may_pause = jobs.len() < capacity && !shutdown.is_cancelled();
            for job in jobs {
                let span = span!("restore", otel.name = "automatic restore");
                running.spawn(self.clone().work(job).instrument(span));
            }
            tokio::select! {
                () = shutdown.cancelled(), if running.is_empty() => return,
                Some(ended) = running.join_next() => log_panic(ended),
                () = self.wake.notified() => {}
                () = tokio::time::sleep(POLL_INTERVAL), if may_pause => {}
            }
            while let Some(ended) = running.try_join_next() {
                log_panic(ended);
            }
        }
    }

    async fn take_jobs(&self, limit: usize) -> Vec<RestoreJob> {
        let now = self.service.now();
        let lease = TimeDelta::from_std(self.budget + JOB_OVERHEAD).unwrap_or(STATE_WAIT);
        let limit = u16::try_from(limit).unwrap_or(u16::MAX);
        let jobs = self
            .service
            .store
            .take_restore_jobs(now, now.shifted(lease), limit)
            .await;
        jobs.unwrap_or_else(|error| {
            tracing::warn!(
                error = %error.with_sources(),
                "could not take restore jobs; trying again"
            );
            Vec::new()
        })
    }

    async fn work(self, mut job: RestoreJob) {
        let attempt = self.service.attempt_restore(&mut job, self.policy);
        let settled = match timeout(self.budget, attempt).await {
            Ok(Ok(Attempt { state, progress })) => {
                let next = self.next(&job, state.as_ref(), progress);
                self.settle(&job, state, next).await
            }
            Ok(Err(RestoreError::Store(error))) => {
                let reason = error.with_sources().to_string();
                let code = ProblemCode::DatabaseUnavailable;
                self.after_failure(&job, &reason, code).await
            }
            Ok(Err(error)) => {
                self.after_failure(&job, &error.to_string(), ProblemCode::Internal)
                    .await
            }
            Err(_) => {
                let code = ProblemCode::UpstreamTimeout;
                self.after_failure(&job, "it took too long", code).await
            }
        };
        if let Err(error) = settled {
            tracing::warn!(
                error = %error.with_sources(),
                "could not finish a restore job; it is due again when its lease ends"
            );
        }
    }

    /// What becomes of the job: another attempt, or its end where it has waited long enough.
    fn next(&self, job: &RestoreJob, state: Option<&SavedState>, progress: Progress) -> Next {
        let now = self.service.now();
        let retry = u32::try_from(job.attempts - 1).unwrap_or_default();
        let after = |pause: Duration| now.shifted(TimeDelta::from_std(pause).unwrap_or(STATE_WAIT));
        let (due, wakeable, deadline, outcome) = match progress {
            Progress::Done(outcome) => return Next::End(outcome),
            Progress::Waiting(reason) => (
                after(WAKEABLE_BACKOFF.pause(retry)),
                true,
                job.queued_at.shifted(STATE_WAIT),
                RestoreOutcome::GaveUp(reason),
            ),
            Progress::NotFound(error) => (
                after(BACKOFF.pause(retry)),
                false,
                job.not_found_since.unwrap_or(now).shifted(PEER_WAIT),
                RestoreOutcome::Failed(error.code()),
            ),
            Progress::UpstreamFails(error) => {
                let expires_at = state.and_then(|state| self.policy.expires_at(state));
                let deadline = expires_at.unwrap_or(job.queued_at.shifted(self.policy.window));
                let pause = pause_after(&error, retry);
                let outcome = RestoreOutcome::Failed(error.code());
                (after(pause), false, deadline, outcome)
            }
        };
        if now > deadline || (!wakeable && due > deadline) {
            return Next::End(outcome);
        }
        // The last look is at the deadline.
        let due = due.min(deadline.shifted(TimeDelta::microseconds(1)));
        Next::Again { due, wakeable }
    }

    async fn settle(
        &self,
        job: &RestoreJob,
        state: Option<SavedState>,
        next: Next,
    ) -> Result<(), StoreError> {
        match next {
            Next::Again { due, wakeable } => {
                self.service
                    .store
                    .postpone_restore_job(job, due, wakeable)
                    .await
            }
            Next::End(outcome) => self.end(job, state, outcome).await,
        }
    }

    /// Ends the job, with its row in the log.
    async fn end(
        &self,
        job: &RestoreJob,
        state: Option<SavedState>,
        outcome: RestoreOutcome,
    ) -> Result<(), StoreError> {
        let now = self.service.now();
        let record = automatic_record(job, state, now);
        self.service
            .store
            .finish_restore_job(job, record, outcome)
            .await?;
        RESTORES.count(&(Cause::Join, outcome));
        tracing::info!(
            outcome = outcome.as_str(),
            problem = outcome.problem(),
            attempts = job.attempts,
            seconds = now.seconds_since(job.queued_at),
            "an automatic restore ended"
        );
        Ok(())
    }

    /// Leaves the job to be due again when its lease ends, or ends it when the window is over.
    async fn after_failure(
        &self,
        job: &RestoreJob,
        reason: &str,
        code: ProblemCode,
    ) -> Result<(), StoreError> {
        tracing::warn!(
            reason,
            attempts = job.attempts,
            "an attempt at a restore job failed"
        );
        let longest_wait = self.policy.window.max(STATE_WAIT);
        if self.service.now() <= job.queued_at.shifted(longest_wait) {
            return Ok(());
        }
        self.end(job, None, RestoreOutcome::Failed(code)).await
    }
}

/// Logs an attempt that panicked. Its job is due again when its lease ends.
fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "an attempt at a restore job panicked");
    }
}

/// The pause after a failure of 100ms: at least what it asks for.
fn pause_after(error: &HmsError, retry: u32) -> Duration {
    let pause = BACKOFF.pause(retry);
    match error {
        HmsError::RateLimited { retry_after } => pause.max(*retry_after),
        _ => pause,
    }
}
