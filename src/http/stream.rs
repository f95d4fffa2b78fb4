//! Answers that are written while they are sent: they are never in memory as a whole.

use std::io::{self, BufWriter, Write};
use std::mem;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// The size of a chunk, in bytes.
const CHUNK_BYTES: usize = 64 << 10;
/// How many chunks are written ahead of the client.
const CHUNKS_AHEAD: usize = 4;
/// How long a client may take to read the answer, and is waited for all in all. Then the connection is
/// closed.
const READ_TIMEOUT: Duration = Duration::from_mins(1);

/// Answers with this JSON, and drops `held` once all of it is sent or the client has gone.
pub(super) fn streamed<J, H>(json: J, held: H) -> Response
where
    J: Serialize + Send + 'static,
    H: Send + 'static,
{
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    tokio::task::spawn_blocking(move || {
        let _held = held;
        let writer = ChunkWriter {
            sender: sender.clone(),
            started: Instant::now(),
        };
        let mut writer = BufWriter::with_capacity(CHUNK_BYTES, writer);
        let written = serde_json::to_writer(&mut writer, &json).map_err(io::Error::from);
        if let Err(error) = written.and_then(|()| writer.flush()) {
            // The client has to see that the answer is not complete.
            let _ = sender.try_send(Err(error));
        }
    });
    answer("application/json", receiver)
}

fn answer(content_type: &'static str, mut chunks: mpsc::Receiver<io::Result<Bytes>>) -> Response {
    let chunks = futures_util::stream::poll_fn(move |context| chunks.poll_recv(context));
    ([(CONTENT_TYPE, content_type)], Body::from_stream(chunks)).into_response()
}

/// The type of [`Lines`].
pub(super) const NDJSON: &str = "application/x-ndjson";

/// Whether a request asks for [`NDJSON`]: it names it, and prefers nothing that JSON is one of.
pub(super) fn accepts_lines(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter();
    let ranges: Vec<(&str, f32)> = accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(media_range)
        .collect();
    let quality = |types: &[&str]| {
        let of_types = ranges.iter().filter(|(range, _)| {
            types
                .iter()
                .any(|media_type| range.eq_ignore_ascii_case(media_type))
        });
        of_types.map(|(_, quality)| *quality).fold(0.0, f32::max)
    };
    let lines = quality(&[NDJSON]);
    lines > 0.0 && lines >= quality(&["application/json", "application/*", "*/*"])
}

/// A type of an `Accept` header, and its quality: 1 where there is none that can be read.
fn media_range(text: &str) -> (&str, f32) {
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next().unwrap_or_default();
    let quality = parts.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.eq_ignore_ascii_case("q")
            .then(|| value.parse().ok())
            .flatten()
    });
    (range, quality.unwrap_or(1.0))
}

/// An answer in lines of JSON. Whoever writes it goes on where the client has gone, or reads too
/// slowly.
pub(super) struct Lines {
    /// None once nobody reads them.
    sender: Option<mpsc::Sender<io::Result<Bytes>>>,
    chunk: Vec<u8>,
    /// For how long the client is still waited for. What is written in between may take its time.
    patience: Duration,
}

impl Lines {
    /// Lines, and the answer that they are sent with.
    pub(super) fn new() -> (Self, Response) {
        let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
        let lines = Self {
            sender: Some(sender),
            chunk: Vec::new(),
            patience: READ_TIMEOUT,
        };
        (lines, answer(NDJSON, receiver))
    }

    /// Writes a line. It is sent with others, at the latest by [`Lines::flush`].
    pub(super) async fn write(&mut self, line: &impl Serialize) {
        if self.sender.is_none() {
            return;
        }
        serde_json::to_writer(&mut self.chunk, line).expect("it can be written as JSON");
        self.chunk.push(b'\n');
        if self.chunk.len() >= CHUNK_BYTES {
            self.flush().await;
        }
    }

    /// Sends what is written.
    pub(super) async fn flush(&mut self) {
        let chunk = mem::take(&mut self.chunk);
        let Some(sender) = &self.sender else { return };
        if chunk.is_empty() {
            return;
        }
        let waits_since = Instant::now();
        let sent = timeout(self.patience, sender.send(Ok(chunk.into()))).await;
        self.patience = self.patience.saturating_sub(waits_since.elapsed());
        if !matches!(sent, Ok(Ok(()))) {
            // A client that is still there has to see that the answer is not complete.
            let _ = sender.try_send(Err(io::ErrorKind::TimedOut.into()));
            self.sender = None;
        }
    }
}

/// Sends what is written as chunks, and waits while the client has not read those before.
struct ChunkWriter {
    sender: mpsc::Sender<io::Result<Bytes>>,
    started: Instant,
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.started.elapsed() > READ_TIMEOUT {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let chunk = Bytes::copy_from_slice(bytes);
        let sent = self.sender.blocking_send(Ok(chunk));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
