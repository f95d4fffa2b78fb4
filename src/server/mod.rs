//! Accepts connections up to a limit, and shuts down gracefully: it finishes the requests in flight
//! and accepts no new ones.
//!
//! `connection` runs one connection, `idle` says how long it may wait for a request, and `limit`
//! counts connections and decides what becomes of one too many; `open_files` lets the process have
//! as many.

mod connection;
mod idle;
mod limit;
mod metrics;
mod open_files;

use std::io;
use std::time::Duration;

use axum::Router;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::connection::connect;
use self::limit::ConnectionLimit;
pub(crate) use self::metrics::METRICS;
pub use self::open_files::allow_connections;

/// How long the requests in flight may take once the service is asked to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(25);

/// What is served, and to how many connections.
pub struct ServerConfig {
    /// What is served.
    pub app: Router,
    /// What is served to connections beyond the limit: refusals, health and metrics.
    pub when_full: Router,
    /// How many connections may be open, beside a few for refusals.
    pub max_connections: usize,
}

/// Serves on `listener` until `shutdown`, then finishes the requests in flight.
pub async fn serve(listener: TcpListener, config: ServerConfig, shutdown: CancellationToken) {
    let connections = GracefulShutdown::new();
    let mut limit = ConnectionLimit::new(config.max_connections);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    if let Some(admission) = limit.admit() {
                        let app = if admission.is_regular() { &config.app } else { &config.when_full };
                        connect(stream, app.clone(), admission, &connections);
                    }
                }
                Err(error) => pause(&error).await,
            },
            () = shutdown.cancelled() => break,
        }
    }
    drop(listener);
    tracing::info!(
        "stopping: finishing {} open connections",
        connections.count()
    );
    if tokio::time::timeout(DRAIN_TIMEOUT, connections.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("stopped before all requests were answered, after {DRAIN_TIMEOUT:?}");
    }
}

/// Waits a moment where accepting failed for want of file descriptors or memory: at once it would only fail again.
async fn pause(error: &io::Error) {
    let one_client = matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    );
    if !one_client {
        tracing::error!(%error, "cannot accept connections");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Cancelled on SIGTERM or Ctrl-C.
///
/// # Errors
/// Where the process cannot listen for signals.
pub fn stop_signal() -> io::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let stop = CancellationToken::new();
    let signal_received = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        signal_received.cancel();
    });
    Ok(stop)
}
