//! Connections: a pool, and statements that survive a connection which died in it.

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, Postgres};
use sqlx::{Connection, Executor};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::StoreError;
use super::error::is_outage;

/// How long a statement may wait for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a statement may take. Longer means that the server is frozen or cut off.
pub(super) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a statement is tried when its connection turns out to be dead.
const ATTEMPTS: usize = 3;

/// Every statement of the service is a look-up by index. Planned once for any arguments it stays one; planned anew for
/// each batch, as Postgres likes to with arrays, planning costs more than running it.
const SESSION: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET jit = off";

/// The primary database.
#[derive(Debug, Clone)]
pub(super) struct Database {
    pool: PgPool,
}

impl Database {
    /// Opens no connection yet: the service starts, and says so, while the database is away.
    pub(super) fn new(options: PgConnectOptions, max_connections: u32) -> Self {
        let pool = PgPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            // A test costs a round trip for every statement. `run` tries again where a connection died meanwhile.
            .test_before_acquire(false)
            .after_connect(|connection, _| Box::pin(async move { connection.execute(SESSION).await.map(|_| ()) }))
            .connect_lazy_with(options);
        Self { pool }
    }

    pub(super) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// A new series of attempts to run one statement.
    pub(super) fn attempts(&self) -> Attempts<'_> {
        Attempts { database: self, made: 0 }
    }

    /// A connection; a `tested` one has answered just now.
    async fn connection(&self, tested: bool) -> Result<PoolConnection<Postgres>, StoreError> {
        loop {
            let mut connection = self.pool.acquire().await.map_err(StoreError::from_sqlx)?;
            if !tested || matches!(timeout(ACQUIRE_TIMEOUT, connection.ping()).await, Ok(Ok(()))) {
                return Ok(connection);
            }
            drop(connection.detach());
        }
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
            let $connection = &mut *held;
            let outcome = tokio::time::timeout(crate::store::database::STATEMENT_TIMEOUT, $statement).await;
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
}

impl Attempts<'_> {
    /// The connection of the next attempt: whatever the pool has at first, later one that has just answered.
    pub(super) async fn connection(&mut self) -> Result<PoolConnection<Postgres>, StoreError> {
        self.made += 1;
        self.database.connection(self.made > 1).await
    }

    /// The result, or none where it is to be tried again. A connection that broke or hangs is given to nobody else.
    pub(super) fn settle<T>(
        &self,
        connection: PoolConnection<Postgres>,
        outcome: Result<Result<T, sqlx::Error>, Elapsed>,
    ) -> Option<Result<T, StoreError>> {
        match outcome {
            Ok(Ok(value)) => Some(Ok(value)),
            Ok(Err(error)) if is_outage(&error) => {
                drop(connection.detach());
                (self.made == ATTEMPTS).then(|| Err(StoreError::from_sqlx(error)))
            }
            Ok(Err(error)) => Some(Err(StoreError::from_sqlx(error))),
            Err(_) => {
                drop(connection.detach());
                Some(Err(StoreError::Unavailable(format!("no answer within {STATEMENT_TIMEOUT:?}"))))
            }
        }
    }
}
