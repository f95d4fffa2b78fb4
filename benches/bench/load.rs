//! A small HTTP client for many busy connections, fast enough not to be what is measured.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

/// The result of a period of load.
pub(crate) struct Load {
    pub(crate) per_second: f64,
    /// In milliseconds.
    pub(crate) p50: f64,
    /// In milliseconds.
    pub(crate) p99: f64,
    /// The longest time, in milliseconds.
    pub(crate) longest: f64,
}

/// Threads that share the connections, each with an event loop of its own. pgbench has as many.
const THREADS: u32 = 2;

/// Sends `request(n)` over `connections` for `duration`, each as soon as the previous one is
/// answered.
///
/// # Panics
/// If an answer is not 2xx.
pub(crate) async fn run(
    address: SocketAddr,
    connections: u32,
    duration: Duration,
    request: impl Fn(u32) -> String + Send + Sync + 'static,
) -> Load {
    let (request, stop) = (Arc::new(request), Arc::new(AtomicBool::new(false)));
    let started = Instant::now();
    let threads: Vec<_> = (0..THREADS.min(connections))
        .map(|first| {
            let clients = (first..connections).step_by(THREADS as usize);
            let (request, stop) = (request.clone(), stop.clone());
            tokio::task::spawn_blocking(move || {
                let client = |client| client_loop(address, client, request.clone(), stop.clone());
                event_loop()
                    .block_on(join_all(clients.map(client)))
                    .concat()
            })
        })
        .collect();
    tokio::time::sleep(duration).await;
    stop.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    for thread in threads {
        times.extend(thread.await.expect("the clients ran to their end"));
    }
    let seconds = started.elapsed().as_secs_f64();
    times.sort_unstable();
    let millis_at = |index: usize| {
        let time = times.get(index).copied().unwrap_or_default();
        time.as_secs_f64() * 1e3
    };
    Load {
        per_second: times.len() as f64 / seconds,
        p50: millis_at(times.len() / 2),
        p99: millis_at(times.len() * 99 / 100),
        longest: millis_at(times.len().saturating_sub(1)),
    }
}

fn event_loop() -> Runtime {
    Builder::new_current_thread()
        .enable_io()
        .build()
        .expect("an event loop")
}

async fn client_loop(
    address: SocketAddr,
    client: u32,
    request: Arc<impl Fn(u32) -> String>,
    stop: Arc<AtomicBool>,
) -> Vec<Duration> {
    let mut stream = TcpStream::connect(address)
        .await
        .expect("the service listens");
    stream.set_nodelay(true).expect("a socket");
    let (mut times, mut buffer) = (Vec::new(), Vec::with_capacity(16 << 10));
    let mut n = client.wrapping_mul(2_654_435_761);
    while !stop.load(Ordering::Relaxed) {
        n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let text = request(n >> 8);
        let started = Instant::now();
        stream
            .write_all(text.as_bytes())
            .await
            .expect("the service reads");
        answer(&mut stream, &mut buffer).await;
        times.push(started.elapsed());
    }
    times
}

/// Reads one answer.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) {
    buffer.clear();
    loop {
        let read = stream.read_buf(buffer).await.expect("the service answers");
        assert!(read > 0, "the service hung up");
        let Some(head) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let text = std::str::from_utf8(&buffer[..head]).expect("a head is ASCII");
        let length: usize = text
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find_map(|(name, value)| {
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.parse().ok())?
            })
            .expect("every answer has a length");
        if buffer.len() >= head + 4 + length {
            assert!(
                text.starts_with("HTTP/1.1 2"),
                "{}",
                String::from_utf8_lossy(buffer)
            );
            return;
        }
    }
}

pub(crate) fn get(path: &str, key: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {key}\r\n\r\n")
}

pub(crate) fn post(path: &str, (header, value): (&str, &str), body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: bench\r\n{header}: {value}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}
