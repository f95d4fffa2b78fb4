//! A JSON answer that is written while it is sent: it is never in memory as a whole.

use std::io::{self, BufWriter, Write};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::mpsc;

/// The size of a chunk, in bytes.
const CHUNK_BYTES: usize = 64 << 10;
/// How many chunks are written ahead of the client.
const CHUNKS_AHEAD: usize = 4;
/// How long a client may take to read the answer. Then the connection is closed.
const READ_TIMEOUT: Duration = Duration::from_mins(1);

/// Answers with `json`, and drops `held` once all of it is sent or the client has gone.
pub(super) fn streamed<J, H>(json: J, held: H) -> Response
where
    J: Serialize + Send + 'static,
    H: Send + 'static,
{
    let (sender, mut receiver) = mpsc::channel(CHUNKS_AHEAD);
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
    let chunks = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
    let content_type = [(CONTENT_TYPE, "application/json")];
    (content_type, Body::from_stream(chunks)).into_response()
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
