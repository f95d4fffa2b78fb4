//! A pool of our own: connections are opened when needed, and reused while they are good.
//!
//! sqlx's pool pings every connection that is returned to it. That is a round trip for each
//! statement, and it has no timeout, so a server that freezes takes connections out of the pool for
//! good. Here a connection is released only after its statement ran to its end. After an error, a
//! timeout or a caller that stops waiting, it is closed, so that nobody gets an answer that was
//! meant for somebody else.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::Statement;
use super::layout::Layout;
use super::parameters::{self, Marker, Opened, Parameters};
use crate::backoff::Backoff;
use crate::store::StoreError;
use crate::store::error::{UnavailableReason, is_outage};

/// How long opening a connection may take, all attempts together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a caller waits for a new connection of its own before one that is released will do too,
/// unless the server has refused it. Not at once: under load one is always released earlier, and no second one would ever be opened.
const OPEN_PATIENCE: Duration = Duration::from_millis(250);
/// The pauses between these attempts.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(20),
    longest: Duration::from_millis(250),
    factor: 2,
    jitter: 0.0,
};
/// How long a connection may be used, so that connections follow a primary that moves.
const MAX_AGE: Duration = Duration::from_mins(30);

/// The connections of one process.
pub(super) struct Pool {
    options: PgConnectOptions,
    /// Whether there is a pooler in between, as far as is known.
    has_pooler: AtomicBool,
    /// The layout of the tables, where it is not to be asked for.
    fixed_layout: Option<Layout>,
    /// Whether the tables are distributed, as the connection says that was opened last.
    is_distributed: AtomicBool,
    max_idle: usize,
    idle_timeout: Duration,
    idle: Mutex<Vec<Idle>>,
    /// Notified of each connection that becomes idle.
    released: Notify,
    /// Every open connection holds a clone.
    open: Arc<()>,
}

struct Idle {
    connection: PooledConnection,
    since: Instant,
}

/// An open connection in use. It is closed when this is dropped rather than released.
pub(super) struct PooledConnection {
    connection: PgConnection,
    parameters: Parameters,
    layout: Layout,
    opened_at: Instant,
    _open: Arc<()>,
}

impl PooledConnection {
    pub(super) fn get_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    pub(super) fn parameters(&self) -> Parameters {
        self.parameters
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    /// Runs a statement once, with the parameters of the service.
    pub(super) async fn run<S: Statement>(
        &mut self,
        statement: &S,
    ) -> Result<S::Output, sqlx::Error> {
        if self.parameters == Parameters::OfConnection {
            return run_on(self.layout, statement, &mut self.connection).await;
        }
        let begin = parameters::begin(self.layout);
        let mut transaction = self.connection.begin_with(begin).await?;
        let output = run_on(self.layout, statement, &mut transaction).await?;
        transaction.commit().await?;
        Ok(output)
    }
}

/// Runs a statement in the form for this layout.
async fn run_on<S: Statement>(
    layout: Layout,
    statement: &S,
    connection: &mut PgConnection,
) -> Result<S::Output, sqlx::Error> {
    match layout {
        Layout::OneServer => statement.run(connection).await,
        Layout::Distributed => statement.run_distributed(connection).await,
    }
}

impl Pool {
    pub(super) fn new(
        options: PgConnectOptions,
        max_idle: usize,
        idle_timeout: Duration,
        fixed_layout: Option<Layout>,
    ) -> Self {
        Self {
            // sqlx would set it for texts of floating point numbers. There are none, and poolers refuse it.
            options: options.extra_float_digits(None),
            has_pooler: AtomicBool::new(false),
            fixed_layout,
            is_distributed: AtomicBool::new(fixed_layout == Some(Layout::Distributed)),
            max_idle,
            idle_timeout,
            idle: Mutex::default(),
            released: Notify::new(),
            open: Arc::default(),
        }
    }

    /// The address of the server.
    pub(super) fn address(&self) -> String {
        match self.options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", self.options.get_host(), self.options.get_port()),
        }
    }

    /// Whether there is a pooler in between, as far as connections were opened already.
    pub(super) fn has_pooler(&self) -> bool {
        self.has_pooler.load(Ordering::Relaxed)
    }

    /// The layout of the tables, as the connection says that was opened last.
    pub(super) fn layout(&self) -> Layout {
        if self.is_distributed.load(Ordering::Relaxed) {
            Layout::Distributed
        } else {
            Layout::OneServer
        }
    }

    /// The number of connections: all, and those in use.
    pub(super) fn connections(&self) -> (u32, u32) {
        let idle = self.idle().len();
        let open = Arc::strong_count(&self.open) - 1;
        let count = |connections| u32::try_from(connections).unwrap_or(u32::MAX);
        (count(open), count(open.saturating_sub(idle)))
    }

    /// A new connection with the server's default parameters.
    pub(super) async fn connect(&self) -> Result<PgConnection, StoreError> {
        let (connection, _) = self.connect_or_notify(false, &Notify::new()).await?;
        Ok(connection)
    }

    /// A new connection, with the parameters of the service if asked for, notifying `failed` of each
    /// attempt that fails.
    async fn connect_or_notify(
        &self,
        with_parameters: bool,
        failed: &Notify,
    ) -> Result<(PgConnection, Option<Marker>), StoreError> {
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        let mut failure = UnavailableReason::ConnectTimeout(CONNECT_TIMEOUT);
        let mut retry = 0;
        loop {
            match timeout_at(deadline, self.connect_once(with_parameters)).await {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(error)) => {
                    let is_transient = is_outage(&error);
                    failure = UnavailableReason::Connect(Arc::new(error));
                    if !is_transient {
                        return Err(failure.into());
                    }
                    failed.notify_one();
                }
                Err(_) => return Err(failure.into()),
            }
            let pause = BACKOFF.pause(retry);
            if Instant::now() + pause >= deadline {
                return Err(failure.into());
            }
            sleep(pause).await;
            retry += 1;
        }
    }

    /// One attempt. Where the other end takes the parameters, there is its marker too.
    async fn connect_once(
        &self,
        with_parameters: bool,
    ) -> Result<(PgConnection, Option<Marker>), sqlx::Error> {
        if with_parameters && !self.has_pooler() {
            let marker = Marker::new();
            match PgConnection::connect_with(&marker.with_parameters(&self.options)).await {
                Err(error) if parameters::refuses_options(&error) => {}
                connected => return Ok((connected?, Some(marker))),
            }
        }
        Ok((PgConnection::connect_with(&self.options).await?, None))
    }

    /// A connection: an idle one, else a new one. Where the server has no capacity for more or takes
    /// long, whichever is there first, the new one or one that is released.
    pub(super) async fn take(&self) -> Result<PooledConnection, StoreError> {
        if let Some(connection) = self.take_idle() {
            return Ok(connection);
        }
        let failed = Notify::new();
        let mut opening = pin!(self.open(&failed));
        tokio::select! {
            opened = &mut opening => return self.or_released(opened).await,
            () = failed.notified() => {}
            () = sleep(OPEN_PATIENCE) => {}
        }
        tokio::select! {
            opened = opening => self.or_released(opened).await,
            released = self.released() => Ok(released),
        }
    }

    /// A connection that is released, where the server refuses new ones for good: the role may not
    /// log in any more, or its password has changed. The connections that are in use still work.
    async fn or_released(
        &self,
        opened: Result<PooledConnection, StoreError>,
    ) -> Result<PooledConnection, StoreError> {
        match opened {
            Err(StoreError::Unavailable(UnavailableReason::Connect(error)))
                if !is_outage(&error) && self.connections().0 > 0 =>
            {
                let released = timeout(CONNECT_TIMEOUT, self.released()).await;
                released.map_err(|_| UnavailableReason::Connect(error).into())
            }
            opened => opened,
        }
    }

    /// The next connection that is idle.
    async fn released(&self) -> PooledConnection {
        loop {
            let released = self.released.notified();
            if let Some(connection) = self.take_idle() {
                return connection;
            }
            released.await;
        }
    }

    /// A new connection, whether or not others are idle.
    pub(super) async fn open_another(&self) -> Result<PooledConnection, StoreError> {
        self.open(&Notify::new()).await
    }

    /// A new connection to a server that accepts writes, with the parameters of the service.
    async fn open(&self, failed: &Notify) -> Result<PooledConnection, StoreError> {
        let (mut connection, marker) = self.connect_or_notify(true, failed).await?;
        let opened = parameters::opened(&mut connection, marker.as_ref(), self.fixed_layout).await;
        let Opened {
            is_primary,
            parameters,
            layout,
        } = opened.map_err(UnavailableReason::of_connect)?;
        if parameters == Parameters::OfTransaction {
            self.has_pooler.store(true, Ordering::Relaxed);
        }
        if !is_primary {
            return Err(UnavailableReason::ReadOnly.into());
        }
        let is_distributed = layout == Layout::Distributed;
        self.is_distributed.store(is_distributed, Ordering::Relaxed);
        Ok(PooledConnection {
            connection,
            parameters,
            layout,
            opened_at: Instant::now(),
            _open: self.open.clone(),
        })
    }

    /// The idle connection that was used last. One that has been idle for too long may have been
    /// forgotten by a firewall, which nobody learns before the statement times out.
    fn take_idle(&self) -> Option<PooledConnection> {
        let Idle { connection, since } = self.idle().pop()?;
        let is_good =
            since.elapsed() <= self.idle_timeout && connection.opened_at.elapsed() < MAX_AGE;
        is_good.then_some(connection)
    }

    /// Makes a connection available to others.
    pub(super) fn release(&self, connection: PooledConnection) {
        let mut idle = self.idle();
        // Those at the front have been idle the longest.
        let expired = idle
            .iter()
            .take_while(|idle| idle.since.elapsed() > self.idle_timeout)
            .count();
        idle.drain(..expired);
        if idle.len() < self.max_idle {
            idle.push(Idle {
                connection,
                since: Instant::now(),
            });
            drop(idle);
            self.released.notify_one();
        }
    }

    /// Closes all idle connections. Where one connection is dead, most likely all are.
    pub(super) fn clear_idle(&self) {
        self.idle().clear();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
