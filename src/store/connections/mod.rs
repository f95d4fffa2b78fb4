//! Connections to the primary, and how statements run on them.
//!
//! [`Database::execute`] is how every statement of the store runs. It takes a connection from the
//! [`pool`], and makes another attempt on a new one where the connection turns out to be dead.
//! [`BoundedExecutor`] runs the statements that go through no batcher. [`parameters`] has what
//! connections set, [`layout`] how the tables are laid out, and [`pooler`] the check of a pooler in between. No other SQL lives here.

mod bounded;
mod layout;
mod parameters;
mod pool;
mod pooler;

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection, Executor, Postgres, Transaction};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::field::Empty;

pub(super) use self::bounded::{BoundedExecutor, PERMIT_TIMEOUT};
pub(super) use self::layout::HAS_CITUS;
pub use self::layout::Layout;
pub(super) use self::parameters::IS_PRIMARY;
use self::pool::{Pool, PooledConnection};
use self::pooler::PoolerCheck;
use super::StoreError;
use super::error::{UnavailableReason, is_broken, is_node_failure, is_outage, is_over_time};
use crate::trace::{self, Instrument, span};

/// How long a statement may take, all attempts together. Longer means that the server is frozen or
/// unreachable.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// How many attempts a statement gets when connections turn out to be dead.
const MAX_ATTEMPTS: usize = 3;

/// One or more SQL statements on one connection.
///
/// It must be safe to run twice: when a connection breaks, nobody knows whether the statement was
/// committed.
pub(super) trait Statement: Send + Sync {
    /// What it returns.
    type Output: Send;

    /// Runs it once.
    fn run(
        &self,
        connection: &mut PgConnection,
    ) -> impl Future<Output = Result<Self::Output, sqlx::Error>> + Send;

    /// Runs it once where the tables are distributed: with statements that name one user each.
    /// Most do anyway, or read no such table.
    fn run_distributed(
        &self,
        connection: &mut PgConnection,
    ) -> impl Future<Output = Result<Self::Output, sqlx::Error>> + Send {
        self.run(connection)
    }
}

/// Begins a transaction with this parameter, or where a statement has one already, since there is a
/// pooler in between, one within it.
pub(super) async fn begin_with<'a>(
    connection: &'a mut PgConnection,
    set_local: &'static str,
) -> Result<Transaction<'a, Postgres>, sqlx::Error> {
    if !connection.is_in_transaction() {
        let begin = AssertSqlSafe(format!("BEGIN; {set_local}"));
        return connection.begin_with(begin).await;
    }
    let mut transaction = connection.begin().await?;
    transaction.execute(set_local).await?;
    Ok(transaction)
}

/// Begins a transaction with this parameter, which counts on the nodes of a cluster too. It is set with a
/// text of its own: Citus sends nodes all of the text that has it.
pub(super) async fn begin_on_nodes<'a>(
    connection: &'a mut PgConnection,
    set_local: &'static str,
) -> Result<Transaction<'a, Postgres>, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    transaction.execute(set_local).await?;
    Ok(transaction)
}

/// The primary database. Clones share connections.
#[derive(Clone)]
pub(super) struct Database {
    pool: Arc<Pool>,
    pooler_check: PoolerCheck,
}

impl Database {
    /// Opens no connection yet, so that the service can start while the database is down.
    /// At most `max_idle` connections are idle, and none for longer than `idle_timeout`. Without a
    /// `layout`, each connection asks for it.
    pub(super) fn new(
        options: PgConnectOptions,
        max_idle: usize,
        idle_timeout: Duration,
        layout: Option<Layout>,
    ) -> Self {
        Self {
            pool: Arc::new(Pool::new(options, max_idle, idle_timeout, layout)),
            pooler_check: PoolerCheck::default(),
        }
    }

    /// Checks that the pooler in between, if there is one, keeps what the service prepares.
    ///
    /// # Errors
    /// [`UnavailableReason::Pooler`] where it does not.
    pub(super) async fn check_pooler(&self) -> Result<(), StoreError> {
        timeout(STATEMENT_TIMEOUT, self.pooler_check.run(&self.pool))
            .await
            .unwrap_or_else(|_| Err(UnavailableReason::AnswerTimeout(STATEMENT_TIMEOUT).into()))
    }

    /// Whether there is a pooler in between, as far as connections were opened already.
    pub(super) fn has_pooler(&self) -> bool {
        self.pool.has_pooler()
    }

    /// The layout of the tables, as the connection says that was opened last.
    pub(super) fn layout(&self) -> Layout {
        self.pool.layout()
    }

    /// The address of the server, as the settings name it.
    pub(super) fn address(&self) -> String {
        self.pool.address()
    }

    /// The number of connections: all, and those in use.
    pub(super) fn connections(&self) -> (u32, u32) {
        self.pool.connections()
    }

    /// Closes all idle connections: their server is not the one to talk to any more.
    pub(super) fn clear_idle(&self) {
        self.pool.clear_idle();
    }

    /// A new connection outside the pool, without a statement timeout.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], whatever the reason.
    pub(super) async fn connect(&self) -> Result<PgConnection, StoreError> {
        self.pool.connect().await
    }

    /// Runs a statement, with further attempts where its connection turns out to be dead.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Refused`].
    pub(super) async fn execute<S: Statement>(
        &self,
        statement: &S,
    ) -> Result<S::Output, StoreError> {
        let name = trace::short_name::<S>();
        let span = span!(
            "statement",
            otel.name = name,
            otel.kind = "client",
            otel.status_code = Empty,
            db.system.name = "postgresql",
            db.operation.name = name,
        );
        let result = self.attempt(statement).instrument(span.clone()).await;
        if result.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        result
    }

    async fn attempt<S: Statement>(&self, statement: &S) -> Result<S::Output, StoreError> {
        let deadline = Instant::now() + STATEMENT_TIMEOUT;
        let mut attempt = 1;
        loop {
            let mut connection = self.connection(deadline).await?;
            match timeout_at(deadline, connection.run(statement)).await {
                Ok(Ok(output)) => {
                    self.pool.release(connection);
                    return Ok(output);
                }
                Ok(Err(error))
                    if connection.layout() == Layout::Distributed && is_node_failure(&error) =>
                {
                    // The server has answered: its own connection broke, and its next attempt opens another.
                    self.pool.release(connection);
                    if attempt > 1 {
                        return Err(error.into());
                    }
                }
                Ok(Err(error)) if is_outage(&error) && !is_over_time(&error) => {
                    if is_broken(&error) {
                        self.pool.clear_idle();
                    }
                    if attempt == MAX_ATTEMPTS {
                        return Err(error.into());
                    }
                }
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => {
                    self.pool.clear_idle();
                    return Err(UnavailableReason::AnswerTimeout(STATEMENT_TIMEOUT).into());
                }
            }
            attempt += 1;
        }
    }

    async fn connection(&self, deadline: Instant) -> Result<PooledConnection, StoreError> {
        timeout_at(deadline, self.pool.take())
            .await
            .unwrap_or_else(|_| Err(UnavailableReason::AnswerTimeout(STATEMENT_TIMEOUT).into()))
    }
}
