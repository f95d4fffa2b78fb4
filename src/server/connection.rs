//! One connection: its timeouts, and the largest head of a request.

use std::time::Duration;

use axum::Router;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt;

use super::idle::{IDLE_TIMEOUT, watch_heads};
use super::limit::Admission;

/// The largest head of a request, in bytes. A connection buffers no more of a request than this.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The same, on a connection beyond the limit, from its beginning.
const REFUSED_HEAD_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a client may read nothing of a response.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves `app` on a connection, in a task of its own.
pub(super) fn connect(
    stream: TcpStream,
    app: Router,
    admission: Admission,
    connections: &GracefulShutdown,
) {
    // Answers are small and complete: nothing is gained by holding them back.
    let _ = stream.set_nodelay(true);
    let (idle_timeout, head_timeout) = if admission.is_regular() {
        (IDLE_TIMEOUT, HEAD_TIMEOUT)
    } else {
        (REFUSED_HEAD_TIMEOUT, REFUSED_HEAD_TIMEOUT)
    };
    let (stream, timer) = watch_heads(
        stream,
        head_timeout,
        admission.scarce(),
        admission.head_budget(),
    );
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    let service = TowerToHyperService::new(app.map_request(
        |request: axum::http::Request<hyper::body::Incoming>| request.map(axum::body::Body::new),
    ));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(timer)
        .header_read_timeout(idle_timeout)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_header_size(MAX_HEAD_BYTES)
        .keep_alive(admission.is_regular())
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    let watched = connections.watch(connection);
    tokio::spawn(async move {
        let _admission = admission;
        if let Err(error) = watched.await {
            tracing::debug!(%error, "a connection ended early");
        }
    });
}
