//! The worker of this replica: it takes rooms whose looks are due, and fetches that events asked
//! for.
//!
//! All replicas share one schedule. Who takes a room has it for a lease, and renews that while it
//! works; should the worker die, another takes the room when the lease ends. No room is looked at
//! twice at once.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::WatchScheduling;
use super::discovery::{AT_START, DISCOVERY_INTERVAL};
use super::look::{is_worth_another, problem};
use crate::backoff::Backoff;
use crate::domain::{FetchJob, Look, LookOutcome, ProblemCode};
use crate::hms::{HmsError, UpstreamRate};
use crate::service::lease::Lease;
use crate::service::metrics::{LOOKS, LookKind, WATCH_LATENESS_SECONDS, WATCHES};
use crate::service::{Service, SnapshotError};
use crate::store::{LookResult, StoreError};
use crate::trace::{Instrument, span};

/// How long a worker has a room, unless it renews that. With the shortest intervals, a dead one's
/// rooms are late by no more than this.
const LEASE: Duration = Duration::from_secs(5);
/// How long a worker goes on that cannot renew that.
const MAX_UNRENEWED: Duration = Duration::from_secs(4);
/// How long a worker has a fetch.
const FETCH_LEASE: Duration = Duration::from_secs(10);
/// How long a fetch may take: not until another may take it.
const FETCH_TIMEOUT: Duration = Duration::from_secs(8);
/// How many looks and fetches of one replica run at once.
const MAX_CONCURRENT: usize = 8;
/// How often a worker looks for something to do, unless it is woken.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How often it counts the watches. While there are none, it does nothing else.
const COUNT_INTERVAL: Duration = Duration::from_secs(5);
/// For how long a fetch is worth another attempt: 100ms lists a ghost for about a minute.
const FETCH_PATIENCE: Duration = Duration::from_mins(1);
/// The pauses between the attempts of a fetch.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(15),
    factor: 2,
    jitter: 0.25,
};

/// The worker.
#[derive(Clone)]
pub struct WatchWorker {
    service: Service,
    scheduling: WatchScheduling,
    max_concurrent: usize,
    presence_timeout: Duration,
}

/// For how long 100ms wants to be left alone, if it does.
type RateLimited = Option<Duration>;

impl WatchWorker {
    /// A worker for this service, which is paced by `rate`. Peers that were not seen for
    /// `presence_timeout` are looked for.
    pub fn new(
        service: &Service,
        scheduling: WatchScheduling,
        rate: UpstreamRate,
        presence_timeout: Duration,
    ) -> Self {
        let per_second = Duration::from_secs(1).as_millis() / rate.interval().as_millis().max(1);
        let per_second = usize::try_from(per_second).unwrap_or(MAX_CONCURRENT);
        Self {
            service: service.clone(),
            scheduling,
            max_concurrent: per_second.clamp(1, MAX_CONCURRENT),
            presence_timeout,
        }
    }

    /// Works until `shutdown`, then finishes what it has begun.
    pub async fn run(self, shutdown: CancellationToken) {
        tokio::join!(
            self.look_at_rooms(&shutdown),
            self.discover_rooms(&shutdown),
            self.count_watches(&shutdown),
            self.check_presence(&shutdown),
        );
    }

    async fn look_at_rooms(&self, shutdown: &CancellationToken) {
        let mut running: JoinSet<RateLimited> = JoinSet::new();
        let mut resume_at = Instant::now();
        loop {
            let may_take = !shutdown.is_cancelled() && Instant::now() >= resume_at;
            let capacity = self.max_concurrent - running.len();
            if may_take && capacity > 0 && self.scheduling.any.load(Ordering::Relaxed) {
                self.take(&mut running, capacity).await;
            }
            tokio::select! {
                () = shutdown.cancelled(), if running.is_empty() => return,
                Some(ended) = running.join_next() => {
                    if let Some(wait) = rate_limited(ended) {
                        resume_at = resume_at.max(Instant::now() + wait);
                    }
                }
                () = self.scheduling.wake.notified() => {}
                () = sleep(POLL_INTERVAL), if !shutdown.is_cancelled() => {}
            }
        }
    }

    /// Takes as much as there is capacity for: fetches first, since what they are for is soon gone.
    async fn take(&self, running: &mut JoinSet<RateLimited>, capacity: usize) {
        let limit = |capacity: usize| u16::try_from(capacity).unwrap_or(u16::MAX);
        let store = &self.service.store;
        let jobs = store.take_fetch_jobs(limit(capacity), FETCH_LEASE).await;
        let jobs = jobs.unwrap_or_else(|error| not_taken(&error));
        let capacity = capacity.saturating_sub(jobs.len());
        for job in jobs {
            let worker = self.clone();
            let work = async move { worker.work_on_fetch(job).await };
            running.spawn(work.instrument(span!("fetch", otel.name = "fetch")));
        }
        if capacity == 0 {
            return;
        }
        let looks = store.take_looks(limit(capacity), LEASE).await;
        for look in looks.unwrap_or_else(|error| not_taken(&error)) {
            let worker = self.clone();
            let work = async move { worker.work_on_look(look).await };
            running.spawn(work.instrument(span!("look", otel.name = "look")));
        }
    }

    async fn work_on_look(&self, look: Look) -> RateLimited {
        let lease = Lease {
            length: LEASE,
            max_unrenewed: MAX_UNRENEWED,
        };
        let looked = tokio::select! {
            looked = self.service.look_at(&look.room_id) => looked,
            () = lease.lost(|| self.service.store.renew_look(&look, LEASE)) => {
                tracing::warn!(room_id = %look.room_id, "a look took too long and was given up");
                return None;
            }
        };
        let outcome = LookOutcome(looked.as_ref().err().map(problem));
        LOOKS.count(&(LookKind::Room, outcome));
        let (settled, wait) = match looked {
            Ok(result) => (self.finish(&look, result).await, None),
            Err(SnapshotError::Upstream(HmsError::RateLimited { retry_after })) => {
                let released = self.service.store.release_look(&look, Duration::ZERO).await;
                (released, Some(retry_after))
            }
            Err(_) => {
                let result = LookResult {
                    outcome,
                    peers: 0,
                    changes: 0,
                };
                (self.finish(&look, result).await, None)
            }
        };
        if let Err(error) = settled {
            tracing::warn!(error = %error.with_sources(), "could not end a look; its lease will");
        }
        wait
    }

    async fn finish(&self, look: &Look, result: LookResult) -> Result<(), StoreError> {
        let has_ended = self.service.store.finish_look(look, result).await?;
        if has_ended {
            tracing::info!(room_id = %look.room_id, "the room is not active any more; its watch ended");
            // Nobody looks at it any more.
            if let Err(error) = self.service.check_presence_in(&look.room_id).await {
                tracing::warn!(
                    room_id = %look.room_id,
                    problem = problem(&error).as_str(),
                    "could not ask when the peers of a room left"
                );
            }
        }
        Ok(())
    }

    async fn work_on_fetch(&self, job: FetchJob) -> RateLimited {
        let fetched = tokio::time::timeout(FETCH_TIMEOUT, self.service.fetch(&job)).await;
        let kind = if job.peer_id.is_some() {
            LookKind::Peer
        } else {
            LookKind::User
        };
        let (code, wait, is_done) = match &fetched {
            Ok(Ok(())) => (None, None, true),
            Ok(Err(SnapshotError::Upstream(HmsError::RateLimited { retry_after }))) => (
                Some(ProblemCode::UpstreamRateLimited),
                Some(*retry_after),
                false,
            ),
            Ok(Err(error)) => (Some(problem(error)), None, !is_worth_another(error)),
            Err(_) => (Some(ProblemCode::UpstreamTimeout), None, false),
        };
        let outcome = LookOutcome(code);
        LOOKS.count(&(kind, outcome));
        let retry = u32::try_from(job.attempts - 1).unwrap_or_default();
        let pause = wait.unwrap_or_default().max(BACKOFF.pause(retry));
        // A wait that 100ms asks for uses up no patience: it may not even have been asked.
        let is_over = job.age >= FETCH_PATIENCE && wait.is_none();
        let retry_after = (!is_done && !is_over).then_some(pause);
        if !is_done && retry_after.is_none() {
            tracing::warn!(
                outcome = outcome.as_str(),
                attempts = job.attempts,
                "gave up the fetch that an event asked for"
            );
        }
        let settled = self
            .service
            .store
            .settle_fetch_job(&job, outcome, retry_after);
        if let Err(error) = settled.await {
            tracing::warn!(error = %error.with_sources(), "could not end a fetch; its lease will");
        }
        wait
    }

    /// Begins watches of rooms that no webhook reported, at once and regularly.
    async fn discover_rooms(&self, shutdown: &CancellationToken) {
        let Some(every) = self.scheduling.every else {
            return;
        };
        let mut pause = AT_START;
        let mut regularly = interval(DISCOVERY_INTERVAL / 4);
        regularly.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown
            .run_until_cancelled(regularly.tick())
            .await
            .is_some()
        {
            let discover = self.service.discover(every, pause);
            match shutdown.run_until_cancelled(discover).await {
                Some(Ok(Some(begun))) if begun > 0 => {
                    tracing::info!(rooms = begun, "began to watch active rooms");
                    self.scheduling.wake();
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => tracing::warn!(
                    problem = problem(&error).as_str(),
                    "could not list the active sessions; trying again"
                ),
                None => return,
            }
            pause = DISCOVERY_INTERVAL;
        }
    }

    /// Looks for peers that count as connected in watched rooms, and that no look has seen for long.
    async fn check_presence(&self, shutdown: &CancellationToken) {
        let mut regularly = interval(self.presence_timeout / 10);
        regularly.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown
            .run_until_cancelled(regularly.tick())
            .await
            .is_some()
        {
            if !self.scheduling.any.load(Ordering::Relaxed) {
                continue;
            }
            let check = self.service.check_presence(self.presence_timeout);
            match shutdown.run_until_cancelled(check).await {
                Some(Ok(corrected)) if corrected > 0 => {
                    tracing::info!(
                        peers = corrected,
                        "peers that counted as connected had left"
                    );
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => tracing::warn!(
                    problem = problem(&error).as_str(),
                    "could not look for peers that are not seen any more; trying again"
                ),
                None => return,
            }
        }
    }

    /// Keeps what the metrics say of the watches true, and notices when there are any.
    async fn count_watches(&self, shutdown: &CancellationToken) {
        let mut regularly = interval(COUNT_INTERVAL);
        regularly.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown
            .run_until_cancelled(regularly.tick())
            .await
            .is_some()
        {
            // Where the database is away, requests log that.
            let Ok(counts) = self.service.store.count_watches().await else {
                continue;
            };
            for (state, count) in counts.by_state {
                #[expect(clippy::cast_precision_loss, reason = "a gauge")]
                WATCHES.of(&state).set(count as f64);
            }
            WATCH_LATENESS_SECONDS
                .of(&())
                .set(counts.late_by.as_secs_f64());
            let any =
                !counts.is_empty() || counts.fetch_jobs > 0 || self.scheduling.every.is_some();
            if self.scheduling.any.swap(any, Ordering::Relaxed) != any {
                self.scheduling.wake();
            }
        }
    }
}

fn not_taken<T>(error: &StoreError) -> Vec<T> {
    tracing::debug!(error = %error.with_sources(), "could not take what is due; trying again");
    Vec::new()
}

/// What a task returned. What one that panicked had is taken up when its lease ends.
fn rate_limited(ended: Result<RateLimited, JoinError>) -> RateLimited {
    ended.unwrap_or_else(|error| {
        tracing::error!(%error, "a look or a fetch panicked");
        None
    })
}
