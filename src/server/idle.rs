//! How long a connection may wait for the head of a request.
//!
//! hyper has one timeout from the end of a request to the head of the next. A client may keep a
//! connection for long without using it, but once it has begun a head it has to finish it soon. So
//! hyper gets a timer of ours, which learns from the stream when a head begins.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// How long a connection may be idle: longer than balancers keep theirs (75 s and less), so that
/// none sends a request on a connection that is being closed.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// How long it may be idle where connections are scarce.
const SCARCE_IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// When the head that the connection waits for began; none before that.
#[derive(Debug, Clone, Default)]
struct HeadBegan(Arc<Mutex<Option<Instant>>>);

impl HeadBegan {
    fn at(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, at: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    fn record(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with(Instant::now);
    }
}

/// A stream and the timer of its connection.
pub(super) fn watch_heads<S>(
    stream: S,
    head_timeout: Duration,
    scarce: Arc<Notify>,
) -> (WatchedStream<S>, HeadTimer) {
    let began = HeadBegan::default();
    let timer = HeadTimer {
        began: began.clone(),
        head_timeout,
        scarce,
    };
    (WatchedStream { stream, began }, timer)
}

/// Records when the first byte of a head arrives.
pub(super) struct WatchedStream<S> {
    stream: S,
    began: HeadBegan,
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.began.record();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WatchedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// The timer of one connection. hyper starts it when it begins to wait for a head, and for nothing
/// else.
pub(super) struct HeadTimer {
    began: HeadBegan,
    head_timeout: Duration,
    scarce: Arc<Notify>,
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        // What was read until now belongs to an earlier request.
        self.began.set(None);
        Box::pin(HeadSleep {
            began: self.began.clone(),
            head_timeout: self.head_timeout,
            has_begun: false,
            idle_since: Instant::now(),
            sleep: Box::pin(tokio::time::sleep_until(deadline.into())),
            scarce: self.scarce.clone(),
            notified: Box::pin(self.scarce.clone().notified_owned()),
        })
    }
}

/// Ends when the head is overdue, or the connection was idle for too long.
struct HeadSleep {
    began: HeadBegan,
    head_timeout: Duration,
    has_begun: bool,
    idle_since: Instant,
    sleep: Pin<Box<tokio::time::Sleep>>,
    scarce: Arc<Notify>,
    notified: Pin<Box<OwnedNotified>>,
}

impl Sleep for HeadSleep {}

impl Future for HeadSleep {
    type Output = ();

    /// hyper polls this after each read that does not complete the head.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if !self.has_begun {
            if let Some(began) = self.began.at() {
                self.has_begun = true;
                let deadline = began + self.head_timeout;
                self.sleep.as_mut().reset(deadline.into());
            } else if self.is_scarce(context) {
                return Poll::Ready(());
            }
        }
        self.sleep.as_mut().poll(context)
    }
}

impl HeadSleep {
    /// Whether connections are scarce, and this one has been idle for a while.
    fn is_scarce(&mut self, context: &mut Context<'_>) -> bool {
        while self.notified.as_mut().poll(context).is_ready() {
            if self.idle_since.elapsed() >= SCARCE_IDLE_TIMEOUT {
                return true;
            }
            self.notified = Box::pin(self.scarce.clone().notified_owned());
        }
        false
    }
}
