//! Connections: opened when needed, kept while they are good; and statements that survive one that died meanwhile.
//!
//! A pool of our own, since sqlx's asks every connection that comes back for a sign of life: a round trip for each
//! statement, and without a time limit, so that a server that freezes takes connections out of the pool for good. Here only
//! a connection whose statement ran to its end comes back. Whatever else becomes of it (an error, a timeout, a caller that
//! stops waiting), it is closed, so that nobody can get an answer that was meant for another.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Executor};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep, timeout_at};

use super::StoreError;
use super::error::is_outage;
use crate::backoff::Backoff;

/// How long opening a connection may take, while the server is tried again and again.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The pauses between these tries.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(20),
    longest: Duration::from_millis(250),
    factor: 2,
    jitter: 0.0,
};
/// How long a statement may take, all attempts together. Longer means that the server is frozen or cut off.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// Every statement of the service is a look-up by index. Planned once for any arguments it stays one; planned anew for
/// each batch, as Postgres likes to with arrays, planning costs more than running it.
///
/// The server gives up what nobody waits for any more, a little after we did: else a lock that is held for long would pile
/// up connections in it.
const SESSION: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET jit = off; \
                       SET statement_timeout = '6s'";
/// How often a statement is tried when its connection turns out to be dead.
const ATTEMPTS: usize = 3;
/// How long a connection may be idle: less than what load balancers and firewalls allow before they forget it.
const MAX_IDLE: Duration = Duration::from_mins(5);
/// How long a connection lives at most, so that they move on when the address of the primary does.
const MAX_AGE: Duration = Duration::from_mins(30);

/// The primary database. Clones share connections.
#[derive(Clone)]
pub(super) struct Database(Arc<Inner>);

struct Inner {
    options: PgConnectOptions,
    max_idle: usize,
    idle: Mutex<Vec<Idle>>,
    /// Held by every open connection.
    open: Arc<()>,
}

struct Idle {
    connection: Held,
    since: Instant,
}

/// An open connection in use. It is closed when this is dropped.
pub(super) struct Held {
    connection: PgConnection,
    opened: Instant,
    _open: Arc<()>,
}

impl Held {
    /// For a statement.
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl Database {
    /// Opens no connection yet: the service starts, and says so, while the database is away.
    pub(super) fn new(options: PgConnectOptions, max_idle: usize) -> Self {
        Self(Arc::new(Inner {
            options,
            max_idle,
            idle: Mutex::default(),
            open: Arc::default(),
        }))
    }

    /// Connections: all, and those in use.
    pub(super) fn connections(&self) -> (u32, u32) {
        let idle = self.idle().len();
        let open = Arc::strong_count(&self.0.open) - 1;
        let count = |connections| u32::try_from(connections).unwrap_or(u32::MAX);
        (count(open), count(open.saturating_sub(idle)))
    }

    /// A new series of attempts to run one statement.
    pub(super) fn attempts(&self) -> Attempts<'_> {
        Attempts {
            database: self,
            made: 0,
            deadline: Instant::now() + STATEMENT_TIMEOUT,
        }
    }

    /// A new connection, on which statements may take as long as they like.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], whatever the reason: nothing can be done with the database.
    pub(super) async fn connect(&self) -> Result<PgConnection, StoreError> {
        let mut retry = 0;
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        let mut failure = format!("no connection within {CONNECT_TIMEOUT:?}");
        loop {
            match timeout_at(deadline, PgConnection::connect_with(&self.0.options)).await {
                Ok(Ok(connection)) => return Ok(connection),
                // Down, starting, or without a connection to spare.
                Ok(Err(error)) if is_outage(&error) => failure = error.to_string(),
                Ok(Err(error)) => return Err(StoreError::Unavailable(error.to_string())),
                Err(_) => return Err(StoreError::Unavailable(failure)),
            }
            let pause = BACKOFF.pause(retry);
            if Instant::now() + pause >= deadline {
                return Err(StoreError::Unavailable(failure));
            }
            sleep(pause).await;
            retry += 1;
        }
    }

    async fn open(&self) -> Result<Held, StoreError> {
        let mut connection = self.connect().await?;
        let set = connection.execute(SESSION).await;
        set.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(Held {
            connection,
            opened: Instant::now(),
            _open: self.0.open.clone(),
        })
    }

    /// The connection that was used last.
    fn take(&self) -> Option<Held> {
        let last = self.idle().pop().map(|idle| idle.connection);
        last.filter(|held| held.opened.elapsed() < MAX_AGE)
    }

    fn give_back(&self, connection: Held) {
        let mut idle = self.idle();
        // Those at the front have been idle the longest.
        let stale = idle
            .iter()
            .take_while(|idle| idle.since.elapsed() > MAX_IDLE)
            .count();
        idle.drain(..stale);
        if idle.len() < self.0.max_idle {
            idle.push(Idle {
                connection,
                since: Instant::now(),
            });
        }
    }

    /// Closes the connections that nobody uses: where one is dead, the others most likely are too.
    fn distrust(&self) {
        self.idle().clear();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a statement on a connection, and again on another where its own turns out to be dead.
///
/// The statement must be one that may run twice: when a connection breaks, nobody knows whether it was committed.
/// (A macro, since a closure that borrows both a connection and its surroundings cannot promise a `Send` future.)
macro_rules! run {
    ($database:expr, $connection:ident => $statement:expr) => {{
        let mut attempts = $database.attempts();
        loop {
            let mut held = match attempts.connection().await {
                Ok(held) => held,
                Err(error) => break Err(error),
            };
            let $connection = held.connection();
            let outcome = tokio::time::timeout_at(attempts.deadline(), $statement).await;
            if let Some(result) = attempts.settle(held, outcome) {
                break result;
            }
        }
    }};
}
pub(super) use run;

/// The attempts to run one statement.
pub(super) struct Attempts<'a> {
    database: &'a Database,
    made: usize,
    deadline: Instant,
}

impl Attempts<'_> {
    /// When the last of them ends.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The connection of the next attempt: one that is at hand at first, later a new one.
    pub(super) async fn connection(&mut self) -> Result<Held, StoreError> {
        self.made += 1;
        match if self.made == 1 {
            self.database.take()
        } else {
            None
        } {
            Some(held) => Ok(held),
            None => timeout_at(self.deadline, self.database.open())
                .await
                .unwrap_or_else(|_| Err(no_answer())),
        }
    }

    /// The result, or none where it is to be tried again.
    pub(super) fn settle<T>(
        &self,
        held: Held,
        outcome: Result<Result<T, sqlx::Error>, Elapsed>,
    ) -> Option<Result<T, StoreError>> {
        match outcome {
            Ok(Ok(value)) => {
                self.database.give_back(held);
                Some(Ok(value))
            }
            Ok(Err(error)) if is_outage(&error) => {
                self.database.distrust();
                (self.made == ATTEMPTS).then(|| Err(StoreError::from_sqlx(error)))
            }
            Ok(Err(error)) => Some(Err(StoreError::from_sqlx(error))),
            Err(_) => {
                self.database.distrust();
                Some(Err(no_answer()))
            }
        }
    }
}

fn no_answer() -> StoreError {
    StoreError::Unavailable(format!("no answer within {STATEMENT_TIMEOUT:?}"))
}
