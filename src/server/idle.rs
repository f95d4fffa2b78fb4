//! How long a connection may wait for the head of a request.
//!
//! hyper has one timeout from the end of a request to the head of the next. A client may keep a
//! connection for long without using it, but once it has begun a head it has to finish it soon. So
//! hyper gets a timer of ours, which learns from the stream when a head begins. The stream also
//! limits how much all connections together hold of heads that are not complete.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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

/// How much of its head each connection may send in any case, in bytes: more than most clients do.
const FREE_HEAD_BYTES: usize = 8 << 10;
/// How much all unfinished heads may have beyond that together, in bytes.
const MAX_HEADS_BYTES: usize = 64 << 20;

/// What all connections hold of unfinished heads, in bytes.
#[derive(Debug, Clone)]
pub(super) struct HeadBudget {
    held: Arc<AtomicUsize>,
    max: usize,
}

impl Default for HeadBudget {
    fn default() -> Self {
        Self {
            held: Arc::default(),
            max: MAX_HEADS_BYTES,
        }
    }
}

/// The head that a connection waits for.
#[derive(Debug)]
struct Head {
    /// When its first byte arrived.
    began: Option<Instant>,
    /// How much of it has arrived, in bytes.
    bytes: usize,
    /// What of that counts in the budget.
    held: usize,
    budget: HeadBudget,
}

impl Head {
    fn new(budget: HeadBudget) -> Self {
        Self {
            began: None,
            bytes: 0,
            held: 0,
            budget,
        }
    }

    /// Counts bytes of it; false where all heads are too large together.
    fn receive(&mut self, bytes: usize) -> bool {
        self.began.get_or_insert_with(Instant::now);
        self.bytes += bytes;
        let more = self.bytes.saturating_sub(FREE_HEAD_BYTES) - self.held;
        self.held += more;
        let all = self.budget.held.fetch_add(more, Ordering::Relaxed) + more;
        more == 0 || all <= self.budget.max
    }
}

impl Drop for Head {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.held, Ordering::Relaxed);
    }
}

/// What the stream and the timer of a connection share; no head while a request is answered.
#[derive(Debug, Clone, Default)]
struct CurrentHead(Arc<Mutex<Option<Arc<Mutex<Head>>>>>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A stream and the timer of its connection.
pub(super) fn watch_heads<S>(
    stream: S,
    head_timeout: Duration,
    scarce: Arc<Notify>,
    budget: HeadBudget,
) -> (WatchedStream<S>, HeadTimer) {
    let head = CurrentHead::default();
    let timer = HeadTimer {
        head: head.clone(),
        head_timeout,
        scarce,
        budget,
    };
    (WatchedStream { stream, head }, timer)
}

/// Counts what arrives of a head.
pub(super) struct WatchedStream<S> {
    stream: S,
    head: CurrentHead,
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let bytes = buffer.filled().len() - before;
        let head = lock(&self.head.0).clone();
        if bytes > 0
            && let Some(head) = head
            && !lock(&head).receive(bytes)
        {
            let why = "the unfinished heads of all connections are too large together";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::OutOfMemory, why)));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WatchedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// The timer of one connection. hyper starts it when it begins to wait for a head, and for nothing
/// else.
pub(super) struct HeadTimer {
    head: CurrentHead,
    head_timeout: Duration,
    scarce: Arc<Notify>,
    budget: HeadBudget,
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let head = Arc::new(Mutex::new(Head::new(self.budget.clone())));
        *lock(&self.head.0) = Some(head.clone());
        Box::pin(HeadSleep {
            current: self.head.clone(),
            head,
            head_timeout: self.head_timeout,
            has_begun: false,
            idle_since: Instant::now(),
            sleep: Box::pin(tokio::time::sleep_until(deadline.into())),
            scarce: self.scarce.clone(),
            notified: Box::pin(self.scarce.clone().notified_owned()),
        })
    }
}

/// Ends when the head is overdue, or the connection was idle for too long. hyper drops it when the
/// head is complete.
struct HeadSleep {
    current: CurrentHead,
    head: Arc<Mutex<Head>>,
    head_timeout: Duration,
    has_begun: bool,
    idle_since: Instant,
    sleep: Pin<Box<tokio::time::Sleep>>,
    scarce: Arc<Notify>,
    notified: Pin<Box<OwnedNotified>>,
}

impl Sleep for HeadSleep {}

impl Drop for HeadSleep {
    fn drop(&mut self) {
        // Unless hyper waits for the next one already.
        lock(&self.current.0).take_if(|current| Arc::ptr_eq(current, &self.head));
    }
}

impl Future for HeadSleep {
    type Output = ();

    /// hyper polls this after each read that does not complete the head.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if !self.has_begun {
            let began = lock(&self.head).began;
            if let Some(began) = began {
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    fn watched(budget: &HeadBudget) -> (DuplexStream, WatchedStream<DuplexStream>, HeadTimer) {
        let (client, server) = tokio::io::duplex(1 << 20);
        let timeout = Duration::from_secs(10);
        let (stream, timer) = watch_heads(server, timeout, Arc::default(), budget.clone());
        (client, stream, timer)
    }

    async fn pass(
        client: &mut DuplexStream,
        stream: &mut WatchedStream<DuplexStream>,
        bytes: usize,
    ) -> io::Result<()> {
        client.write_all(&vec![b'x'; bytes]).await.unwrap();
        stream.read_exact(&mut vec![0; bytes]).await.map(|_| ())
    }

    #[tokio::test]
    async fn unfinished_heads_have_a_common_budget() {
        let budget = HeadBudget {
            max: 64 << 10,
            ..HeadBudget::default()
        };
        let (mut client, mut stream, timer) = watched(&budget);
        let (mut other, mut other_stream, other_timer) = watched(&budget);
        let head = timer.sleep(IDLE_TIMEOUT);
        pass(&mut client, &mut stream, 72 << 10).await.unwrap();
        let other_head = other_timer.sleep(IDLE_TIMEOUT);
        let small = pass(&mut other, &mut other_stream, FREE_HEAD_BYTES).await;
        small.unwrap();
        // The head is complete: what follows is its body, of any size.
        drop(head);
        assert_eq!(budget.held.load(Ordering::Relaxed), 0);
        pass(&mut client, &mut stream, 500 << 10).await.unwrap();
        pass(&mut other, &mut other_stream, 60 << 10).await.unwrap();
        let next_head = timer.sleep(IDLE_TIMEOUT);
        pass(&mut client, &mut stream, 72 << 10).await.unwrap_err();
        drop((stream, timer, next_head));
        drop((other_stream, other_timer, other_head));
        assert_eq!(budget.held.load(Ordering::Relaxed), 0);
    }

    const _: () = assert!(IDLE_TIMEOUT.as_secs() > 75);
}
