//! The simulator on a listener.

use std::io;
use std::time::Duration;

use axum::Extension;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Sim;

/// How long open connections get after the stop signal.
const GRACE: Duration = Duration::from_secs(1);

/// The stop signal, handed to each request. A request that hangs would otherwise hold up the
/// shutdown for ever.
#[derive(Clone)]
pub(super) struct Shutdown(pub(super) CancellationToken);

/// Serves `sim` on `listener`, sends its webhooks and ends its ghosts, until `shutdown`.
///
/// Requests that hang or wait in a fault are answered 503 at the shutdown; connections that are
/// still open a second later are abandoned, and so are webhooks in flight. The same `sim` can be
/// served again, with its state.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, sim: Sim, shutdown: CancellationToken) -> io::Result<()> {
    let router = sim.router().layer(Extension(Shutdown(shutdown.clone())));
    let listening =
        axum::serve(listener, router).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let background = shutdown.child_token();
    let foreground = async {
        // Should the listener fail, the background work ends too.
        let _ended = background.clone().drop_guard();
        tokio::select! {
            result = listening.into_future() => result,
            () = grace_over(&shutdown) => Ok(()),
        }
    };
    tokio::join!(foreground, sim.run(background.clone())).0
}

async fn grace_over(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(GRACE).await;
}
