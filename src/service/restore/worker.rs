//! The restore worker: takes the jobs that joins have queued, and attempts each until it is done.
//!
//! Any replica's worker takes any job, for a lease. Should the worker die, another takes the job
//! when the lease ends.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::automatic::{Progress, WaitReason};
use crate::backoff::Backoff;
use crate::domain::{RestoreJob, RestorePolicy};
use crate::service::{RestoreError, Service};
use crate::store::StoreError;

/// How many jobs one worker runs at the same time.
const MAX_CONCURRENT_JOBS: u16 = 16;
/// How long an idle worker waits before it looks for jobs, unless it is woken.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// How long a job waits for its peer: 100ms reports a join before the peer can be fetched.
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

impl RestoreWorker {
    /// A worker for this service, whose calls to 100ms take at most `upstream_timeout`. `wake` is
    /// notified of new jobs.
    pub fn new(
        service: Service,
        policy: RestorePolicy,
        upstream_timeout: Duration,
        wake: Arc<Notify>,
    ) -> Self {
        Self {
            service,
            policy,
            wake,
            budget: upstream_timeout * 2 + JOB_OVERHEAD,
        }
    }

    /// Works until `shutdown`, then finishes the attempts it has begun.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut running = FuturesUnordered::new();
        loop {
            let running_jobs = u16::try_from(running.len()).unwrap_or(MAX_CONCURRENT_JOBS);
            let capacity = MAX_CONCURRENT_JOBS - running_jobs;
            let jobs = if capacity == 0 || shutdown.is_cancelled() {
                Vec::new()
            } else {
                self.take_jobs(capacity).await
            };
            // Where all of the capacity was used, more jobs may be due already.
            let may_pause = jobs.len() < usize::from(capacity) && !shutdown.is_cancelled();
            running.extend(jobs.into_iter().map(|job| self.work(job)));
            tokio::select! {
                () = shutdown.cancelled(), if running.is_empty() => return,
                Some(()) = running.next() => {}
                () = self.wake.notified() => {}
                () = tokio::time::sleep(POLL_INTERVAL), if may_pause => {}
            }
        }
    }

    async fn take_jobs(&self, limit: u16) -> Vec<RestoreJob> {
        let now = self.service.now();
        let lease = TimeDelta::from_std(self.budget + JOB_OVERHEAD).unwrap_or(STATE_WAIT);
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

    async fn work(&self, job: RestoreJob) {
        let attempt = self.service.attempt_restore(&job, self.policy);
        let settled = match timeout(self.budget, attempt).await {
            Ok(Ok(Progress::Done)) => self.service.store.finish_restore_job(&job).await,
            Ok(Ok(Progress::Waiting(reason))) => self.wait(&job, reason).await,
            Ok(Err(RestoreError::Store(error))) => {
                let reason = error.with_sources().to_string();
                self.after_failure(&job, &reason).await
            }
            Ok(Err(error)) => self.after_failure(&job, &error.to_string()).await,
            Err(_) => self.after_failure(&job, "it took too long").await,
        };
        if let Err(error) = settled {
            tracing::warn!(
                error = %error.with_sources(),
                "could not finish a restore job; it is due again when its lease ends"
            );
        }
    }

    /// Puts the job back, or ends it when it has waited long enough.
    async fn wait(&self, job: &RestoreJob, reason: WaitReason) -> Result<(), StoreError> {
        let (longest_wait, failure) = match reason {
            WaitReason::State => (STATE_WAIT.min(self.policy.window), None),
            WaitReason::Peer(failure) => (PEER_WAIT, Some(failure)),
            WaitReason::Upstream(failure) => (self.policy.window, Some(failure)),
        };
        if self.service.now() <= job.queued_at.shifted(longest_wait) {
            return self.put_back(job).await;
        }
        if let Some(failure) = failure {
            self.service.record_failure(job, failure).await?;
        }
        self.service.store.finish_restore_job(job).await
    }

    /// Leaves the job to be due again when its lease ends, or ends it when the window is over.
    async fn after_failure(&self, job: &RestoreJob, reason: &str) -> Result<(), StoreError> {
        tracing::warn!(
            reason,
            attempts = job.attempts,
            "an attempt at a restore job failed"
        );
        if self.service.now() <= job.queued_at.shifted(self.policy.window) {
            return Ok(());
        }
        self.service.store.finish_restore_job(job).await
    }

    async fn put_back(&self, job: &RestoreJob) -> Result<(), StoreError> {
        let retry = u32::try_from(job.attempts - 1).unwrap_or_default();
        let pause = TimeDelta::from_std(BACKOFF.pause(retry)).unwrap_or_default();
        let due = self.service.now().shifted(pause);
        self.service.store.postpone_restore_job(job, due).await
    }
}
