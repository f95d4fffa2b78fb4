//! The worker that restores by itself: takes jobs that joins have queued, and sees each to its end.
//!
//! Any replica's worker takes any job, for a lease: should it die, another takes the job when that is over.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::domain::RestoreJob;
use crate::service::{Progress, RestorePolicy, Service, Waiting};
use crate::store::StoreError;

/// How many jobs a worker has at a time.
const AT_A_TIME: u16 = 16;
/// How long an idle worker waits before it looks again, unless it is told of a job.
const IDLE: Duration = Duration::from_millis(500);
/// How long a job waits for its peer to appear: 100ms tells of a join before the peer can be fetched.
const FOR_PEER: TimeDelta = TimeDelta::seconds(30);
/// How long a job waits for the state of the peer before, or for its drop, to be told: a ghost stays for about 60 s, and
/// its leave may be retried for another 10.
const FOR_STATE: TimeDelta = TimeDelta::seconds(120);
/// The pauses between the attempts of a job.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(250),
    longest: Duration::from_secs(5),
    factor: 2,
    jitter: 0.25,
};
/// What a job needs beside its two calls to 100ms.
const BESIDE_CALLS: Duration = Duration::from_secs(5);

/// The worker.
#[derive(Clone)]
pub struct RestoreWorker {
    service: Service,
    policy: RestorePolicy,
    wake: Arc<Notify>,
    /// How long a job may take. Then it is dropped, before its lease ends: no two workers send at once.
    budget: Duration,
}

impl RestoreWorker {
    /// A worker for this service, whose calls to 100ms take `upstream_timeout` at most; `wake` tells it of new jobs.
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
            budget: upstream_timeout * 2 + BESIDE_CALLS,
        }
    }

    /// Works until `shutdown`, and then ends what it has begun.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut under_way = FuturesUnordered::new();
        loop {
            let room = AT_A_TIME - u16::try_from(under_way.len()).unwrap_or(AT_A_TIME);
            let taken = if room == 0 || shutdown.is_cancelled() {
                Vec::new()
            } else {
                self.take(room).await
            };
            let full = taken.len() == usize::from(room);
            under_way.extend(taken.into_iter().map(|job| self.work(job)));
            tokio::select! {
                () = shutdown.cancelled(), if under_way.is_empty() => return,
                Some(()) = under_way.next() => {}
                () = self.wake.notified() => {}
                () = tokio::time::sleep(IDLE), if !full && !shutdown.is_cancelled() => {}
            }
        }
    }

    async fn take(&self, limit: u16) -> Vec<RestoreJob> {
        let now = self.service.now();
        let lease = TimeDelta::from_std(self.budget + BESIDE_CALLS).unwrap_or(FOR_STATE);
        let taken = self
            .service
            .store
            .take_restore_jobs(now, now.shifted(lease), limit)
            .await;
        taken.unwrap_or_else(|error| {
            tracing::warn!(%error, "no restore jobs could be taken");
            Vec::new()
        })
    }

    async fn work(&self, job: RestoreJob) {
        let run = timeout(self.budget, self.service.run_restore_job(&job, self.policy)).await;
        let settled = match run {
            Ok(Ok(Progress::Done)) => self.service.store.finish_restore_job(&job).await,
            Ok(Ok(Progress::Waiting(reason))) => self.wait(&job, reason).await,
            Ok(Err(error)) => self.failed(&job, &error.to_string()).await,
            Err(_) => self.failed(&job, "it took too long").await,
        };
        if let Err(error) = settled {
            tracing::warn!(%error, "a restore job could not be settled; it is due again when its lease ends");
        }
    }

    /// Puts the job back, or gives it up where it has waited for long enough.
    async fn wait(&self, job: &RestoreJob, reason: Waiting) -> Result<(), StoreError> {
        let (patience, failure) = match reason {
            Waiting::State => (FOR_STATE.min(self.policy.window), None),
            Waiting::Peer(error, state) => (FOR_PEER, Some((error, state))),
            Waiting::Upstream(error, state) => (self.policy.window, Some((error, state))),
        };
        if self.service.now() <= job.queued_at.shifted(patience) {
            return self.put_back(job).await;
        }
        if let Some((error, state)) = failure {
            self.service
                .give_up_restore_job(job, *state, &error)
                .await?;
        }
        self.service.store.finish_restore_job(job).await
    }

    /// The job is due again when its lease ends; past the window it is not worth it.
    async fn failed(&self, job: &RestoreJob, why: &str) -> Result<(), StoreError> {
        tracing::warn!(why, attempts = job.attempts, "a restore job failed");
        if self.service.now() <= job.queued_at.shifted(self.policy.window) {
            return Ok(());
        }
        self.service.store.finish_restore_job(job).await
    }

    async fn put_back(&self, job: &RestoreJob) -> Result<(), StoreError> {
        let pause = BACKOFF.pause(u32::try_from(job.attempts - 1).unwrap_or_default());
        let due = self
            .service
            .now()
            .shifted(TimeDelta::from_std(pause).unwrap_or_default());
        self.service.store.put_restore_job_back(job, due).await
    }
}
