//! The worker of this replica: it takes events that are due and sends them.
//!
//! All replicas share the queue. Who takes an event has it, and its room, for a lease that is longer
//! than an attempt; should the worker die, another sends the event again when the lease ends.

use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::domain::{Clock, Forward, ForwardOutcome, ForwardResult};
use crate::forward::{Client, SendError};
use crate::service::metrics::{FORWARD_SECONDS, FORWARDS, FORWARDS_WAITING};
use crate::store::{Store, StoreError, TakenForwards};

/// How long a worker has an event. An attempt takes 15 s at most.
const LEASE: Duration = Duration::from_secs(20);
/// How many events a replica sends at once.
const MAX_CONCURRENT: usize = 16;
/// How often a worker looks for events that are due, unless it is woken.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How often what waits is counted, and what has been dead for long is deleted.
const COUNT_INTERVAL: Duration = Duration::from_secs(5);
/// The pauses between the attempts of an event.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(1),
    longest: Duration::from_hours(1),
    factor: 2,
    jitter: 0.25,
};

/// The worker.
#[derive(Clone)]
pub struct ForwardWorker {
    store: Store,
    client: Client,
    clock: Clock,
}

/// What became of an attempt, and what it counts as.
struct Attempt {
    result: ForwardResult,
    outcome: ForwardOutcome,
    /// How long ago the event came.
    age: Duration,
}

impl ForwardWorker {
    /// A worker that sends with this client what is in this store.
    pub fn new(store: Store, client: Client, clock: Clock) -> Self {
        Self {
            store,
            client,
            clock,
        }
    }

    /// Works until `shutdown`, then finishes what it has begun.
    pub async fn run(self, shutdown: CancellationToken) {
        tokio::join!(self.send_events(&shutdown), self.count_events(&shutdown));
    }

    async fn send_events(&self, shutdown: &CancellationToken) {
        let mut running: JoinSet<Attempt> = JoinSet::new();
        let mut next_look = Instant::now();
        loop {
            let may_take = !shutdown.is_cancelled() && running.len() < MAX_CONCURRENT;
            tokio::select! {
                () = shutdown.cancelled(), if running.is_empty() => return,
                Some(ended) = running.join_next() => {
                    self.settle(ended, &mut running).await;
                    // The next event of its room may be sent now.
                    next_look = Instant::now();
                }
                () = self.store.forward_queued(), if may_take => next_look = Instant::now(),
                () = sleep_until(next_look), if may_take => {
                    let start = Instant::now();
                    let is_all = self.take(&mut running).await;
                    // Not more than half of the time, where many rooms wait.
                    let pause = if is_all { POLL_INTERVAL } else { Duration::ZERO };
                    next_look = Instant::now() + pause.max(start.elapsed());
                }
            }
        }
    }

    /// Takes as much as there is capacity for. Returns whether there is nothing else to take now.
    async fn take(&self, running: &mut JoinSet<Attempt>) -> bool {
        let capacity = MAX_CONCURRENT - running.len();
        let limit = u16::try_from(capacity).unwrap_or(u16::MAX);
        match self.store.take_forwards(limit, LEASE).await {
            Ok(TakenForwards { forwards, dead }) => {
                let is_all = forwards.len() + dead.len() < capacity;
                for id in dead {
                    FORWARDS.count(&ForwardOutcome::Dead);
                    tracing::warn!(%id, "no attempt to pass an event on came to an end, and it is dead");
                }
                for forward in forwards {
                    let worker = self.clone();
                    running.spawn(async move { worker.attempt(forward).await });
                }
                is_all
            }
            Err(error) => {
                log_unless_away(&error, "could not take events to pass on");
                true
            }
        }
    }

    async fn attempt(&self, forward: Forward) -> Attempt {
        let start = Instant::now();
        let sent = self.client.send(&forward.event, self.clock.now()).await;
        let error = sent.err();
        let retry = u32::try_from(forward.attempt - 1).unwrap_or_default();
        let is_final = matches!(error, None | Some(SendError::Gone));
        let retry_after = error.as_ref().and_then(SendError::retry_after);
        let pause = BACKOFF.pause(retry).max(retry_after.unwrap_or_default());
        Attempt {
            outcome: match &error {
                None => ForwardOutcome::Accepted,
                Some(error) => error.outcome(),
            },
            result: ForwardResult {
                id: forward.event.id,
                attempt: forward.attempt,
                error: error.map(|error| error.to_string()),
                pause: (!is_final).then_some(pause),
            },
            age: forward.age + start.elapsed(),
        }
    }

    /// Ends an attempt, and all others that have ended meanwhile.
    async fn settle(&self, ended: Result<Attempt, JoinError>, running: &mut JoinSet<Attempt>) {
        let mut attempts: Vec<Attempt> = ended.ok().into_iter().collect();
        while let Some(Some(ended)) = running.join_next().now_or_never() {
            attempts.extend(ended.ok());
        }
        let results = attempts.iter().map(|attempt| attempt.result.clone());
        // Where this fails, the lease ends, and what was accepted is sent once more.
        let dead = match self.store.settle_forwards(results.collect()).await {
            Ok(dead) => dead,
            Err(error) => {
                log_unless_away(&error, "could not store that events were passed on");
                Vec::new()
            }
        };
        for attempt in attempts {
            let is_dead = dead.contains(&attempt.result.id);
            attempt.count(is_dead);
        }
    }

    /// Counts what waits, and deletes what has been dead for long.
    async fn count_events(&self, shutdown: &CancellationToken) {
        let mut regularly = interval(COUNT_INTERVAL);
        regularly.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown
            .run_until_cancelled(regularly.tick())
            .await
            .is_some()
        {
            match self.store.count_forwards().await {
                #[expect(clippy::cast_precision_loss, reason = "there are fewer than 2^52")]
                Ok(waiting) => FORWARDS_WAITING.of(&()).set(waiting as f64),
                Err(error) => log_unless_away(&error, "could not count events to pass on"),
            }
            if let Err(error) = self.store.delete_dead_forwards().await {
                log_unless_away(&error, "could not delete dead events");
            }
        }
    }
}

impl Attempt {
    fn count(self, is_dead: bool) {
        let Self {
            result,
            outcome,
            age,
        } = self;
        if outcome == ForwardOutcome::Accepted {
            FORWARD_SECONDS.of(&()).record(age.as_secs_f64());
        }
        let outcome = match outcome {
            ForwardOutcome::Gone => outcome,
            _ if is_dead => ForwardOutcome::Dead,
            _ => outcome,
        };
        FORWARDS.count(&outcome);
        let Some(error) = result.error else { return };
        let (id, attempt) = (result.id, result.attempt);
        if is_dead {
            tracing::warn!(%id, attempt, error, "an event could not be passed on and is dead");
        } else {
            tracing::info!(%id, attempt, error, "an event is not passed on yet");
        }
    }
}

/// Where the database is away, requests log that.
fn log_unless_away(error: &StoreError, what: &str) {
    if matches!(error, StoreError::Refused(_)) {
        tracing::error!(error = %error.with_sources(), "{what}");
    }
}
