//! Accepts connections, and shuts down gracefully: it finishes the requests in flight and accepts no new ones.

use std::io;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// How long a client may take to send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may read nothing of a response.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the requests in flight may take once the service is asked to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(25);

/// Serves `app` on `listener` until `shutdown`, then finishes the requests in flight.
pub async fn serve(listener: TcpListener, app: Router, shutdown: CancellationToken) {
    let connections = GracefulShutdown::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => connect(stream, app.clone(), &connections),
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

fn connect(stream: TcpStream, app: Router, connections: &GracefulShutdown) {
    // Answers are small and complete: nothing is gained by holding them back.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    let service = TowerToHyperService::new(app.map_request(
        |request: axum::http::Request<hyper::body::Incoming>| request.map(axum::body::Body::new),
    ));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    let watched = connections.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = watched.await {
            tracing::debug!(%error, "a connection ended early");
        }
    });
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
