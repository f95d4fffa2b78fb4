//! Requests that fail for a while are repeated for as long as 100ms and Postgres may be away.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::backoff::Backoff;
use crate::domain::ProblemCode;
use crate::hms::HmsError;
use crate::service::SnapshotError;
use crate::service::watch::problem;

/// For how long requests are repeated of which none succeeds.
const PATIENCE: Duration = Duration::from_mins(2);
/// The pauses in between.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(30),
    factor: 2,
    jitter: 0.25,
};

/// How long requests are still repeated. An answer renews it.
pub(super) struct Patience {
    deadline: Instant,
    retry: u32,
    is_over: bool,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self {
            deadline: Instant::now() + PATIENCE,
            retry: 0,
            is_over: false,
        }
    }

    /// There was an answer.
    pub(super) fn renew(&mut self) {
        *self = Self::new();
    }

    /// Pauses before another attempt.
    ///
    /// # Errors
    /// The problem, where another attempt would come to the same, or too late.
    pub(super) async fn pause_after(
        &mut self,
        error: impl Into<SnapshotError>,
    ) -> Result<(), ProblemCode> {
        let error = error.into();
        let pause = match &error {
            SnapshotError::Upstream(HmsError::RateLimited { retry_after }) => *retry_after,
            SnapshotError::Upstream(
                HmsError::Timeout(_) | HmsError::Unavailable(_) | HmsError::Overloaded,
            )
            | SnapshotError::Store(_) => BACKOFF.pause(self.retry),
            SnapshotError::Upstream(HmsError::Unauthorized) => {
                self.is_over = true;
                return Err(problem(&error));
            }
            SnapshotError::Upstream(_) | SnapshotError::Unstorable(_) => {
                self.renew();
                return Err(problem(&error));
            }
        };
        if Instant::now() + pause >= self.deadline {
            self.is_over = true;
            return Err(problem(&error));
        }
        self.retry += 1;
        sleep(pause).await;
        Ok(())
    }
}

/// Repeats a request until it succeeds. The result is the problem where another attempt would come to
/// the same, or too late. No function: the futures of closures that borrow cannot be sent to another
/// thread.
macro_rules! patiently {
    ($patience:expr, $request:expr) => {
        loop {
            match $request.await {
                Ok(answer) => {
                    $patience.renew();
                    break Ok(answer);
                }
                Err(error) => {
                    if let Err(code) = $patience.pause_after(error).await {
                        break Err(code);
                    }
                }
            }
        }
    };
}
pub(super) use patiently;

/// What is to be requested one by one. One that fails is repeated after the others, so that it keeps
/// none of them waiting for long.
pub(super) struct Queue<T> {
    waiting: VecDeque<T>,
    patience: Patience,
    failure: Option<ProblemCode>,
}

impl<T> Queue<T> {
    pub(super) fn new(waiting: impl IntoIterator<Item = T>, patience: Patience) -> Self {
        Self {
            waiting: waiting.into_iter().collect(),
            patience,
            failure: None,
        }
    }

    /// The next one; none once all are done, or nothing has succeeded for a while.
    pub(super) fn next(&mut self) -> Option<T> {
        self.waiting.pop_front().filter(|_| !self.patience.is_over)
    }

    /// There was an answer.
    pub(super) fn succeeded(&mut self) {
        self.patience.renew();
    }

    /// Pauses, and puts it back where another attempt may come to something else.
    pub(super) async fn failed(&mut self, item: T, error: SnapshotError) {
        match self.patience.pause_after(error).await {
            Ok(()) => self.waiting.push_back(item),
            Err(code) => self.failure = Some(code),
        }
    }

    /// Whether all were answered in the end.
    ///
    /// # Errors
    /// The problem of what failed last.
    pub(super) fn result(self) -> Result<(), ProblemCode> {
        self.failure.map_or(Ok(()), Err)
    }
}
