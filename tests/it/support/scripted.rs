//! An HTTP server that answers as scripted and remembers what it was asked.
//!
//! Written on bare TCP: it must be able to cut a body, hang, or send what no server library would.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A request as it came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Received {
    pub(crate) method: String,
    /// Path and query, byte for byte as sent.
    pub(crate) target: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn bearer(&self) -> &str {
        self.header("authorization")
            .and_then(|value| value.strip_prefix("Bearer "))
            .unwrap_or_default()
    }
}

/// An answer, and what goes wrong with it.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    status: u16,
    headers: String,
    body: Vec<u8>,
    fault: Fault,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// The connection ends in the middle of the body.
    Cut,
    /// The connection ends before any answer.
    Gone,
    /// Nothing is ever answered.
    Hang,
    /// The body stops coming in the middle, but the connection stays.
    Stall,
    /// The answer comes after this long.
    Delay(Duration),
    /// Without a length: in chunks.
    Chunked,
}

impl Answer {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: String::new(),
            body: body.into(),
            fault: Fault::None,
        }
    }

    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::new(200, body)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.extend([name, ": ", value, "\r\n"]);
        self
    }

    pub(crate) fn cut(self) -> Self {
        Self {
            fault: Fault::Cut,
            ..self
        }
    }

    pub(crate) fn stalled(self) -> Self {
        Self {
            fault: Fault::Stall,
            ..self
        }
    }

    pub(crate) fn delayed(self, by: Duration) -> Self {
        Self {
            fault: Fault::Delay(by),
            ..self
        }
    }

    pub(crate) fn chunked(self) -> Self {
        Self {
            fault: Fault::Chunked,
            ..self
        }
    }

    /// Whether it says that all went well.
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub(crate) fn gone() -> Self {
        Self {
            fault: Fault::Gone,
            ..Self::new(0, "")
        }
    }

    pub(crate) fn hang() -> Self {
        Self {
            fault: Fault::Hang,
            ..Self::new(0, "")
        }
    }
}

type Script = Box<dyn FnMut(&Received) -> Answer + Send>;

struct State {
    script: Script,
    received: Vec<Received>,
    connections: usize,
}

/// A running server; it stops when dropped.
pub(crate) struct Scripted {
    pub(crate) port: u16,
    state: Arc<Mutex<State>>,
    accepting: JoinHandle<()>,
}

impl Scripted {
    /// Answers in this order, the last one again and again.
    pub(crate) async fn answers(answers: impl IntoIterator<Item = Answer>) -> Self {
        let mut answers = answers.into_iter().collect::<Vec<_>>().into_iter();
        let mut last = None;
        Self::with(move |_| {
            last = answers.next().or_else(|| last.take());
            last.clone().expect("a script has an answer")
        })
        .await
    }

    /// Answers what `script` says.
    pub(crate) async fn with(script: impl FnMut(&Received) -> Answer + Send + 'static) -> Self {
        Self::at(0, script).await
    }

    /// The same at this port.
    pub(crate) async fn at(
        port: u16,
        script: impl FnMut(&Received) -> Answer + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State {
            script: Box::new(script),
            received: Vec::new(),
            connections: 0,
        }));
        let shared = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.lock().unwrap().connections += 1;
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self {
            port,
            state,
            accepting,
        }
    }

    /// All requests so far, in the order in which they came.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.state.lock().unwrap().received.clone()
    }

    /// How many connections were made so far.
    pub(crate) fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }

    /// Method and target of all requests so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.received()
            .iter()
            .map(|request| format!("{} {}", request.method, request.target))
            .collect()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await {
        let answer = {
            let mut state = state.lock().unwrap();
            state.received.push(request.clone());
            (state.script)(&request)
        };
        if write(&mut stream, answer).await.is_none() {
            return;
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Received> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut first = lines.first()?.split(' ').map(ToOwned::to_owned);
    let mut request = Received {
        method: first.next()?,
        target: first.next()?,
        ..Received::default()
    };
    request.headers = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(k, v)| (k.into(), v.into()))
        .collect();
    let length = request
        .header("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    request.body = String::from_utf8(body).ok()?;
    Some(request)
}

/// Writes the answer; `None` when the connection is over with it.
async fn write(stream: &mut BufReader<TcpStream>, answer: Answer) -> Option<()> {
    let Answer {
        status,
        headers,
        body,
        fault,
    } = answer;
    match fault {
        Fault::Gone => return None,
        Fault::Hang => std::future::pending().await,
        Fault::Delay(by) => tokio::time::sleep(by).await,
        Fault::None | Fault::Cut | Fault::Stall | Fault::Chunked => {}
    }
    let length = match fault {
        Fault::Chunked => "transfer-encoding: chunked".to_owned(),
        _ => format!("content-length: {}", body.len()),
    };
    let head = format!("HTTP/1.1 {status} Scripted\r\n{headers}{length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.ok()?;
    match fault {
        Fault::Cut | Fault::Stall => {
            stream.write_all(&body[..body.len() / 2]).await.ok()?;
            stream.flush().await.ok()?;
            if fault == Fault::Stall {
                std::future::pending::<()>().await;
            }
            None
        }
        Fault::Chunked => {
            for chunk in body.chunks(1000) {
                stream
                    .write_all(format!("{:x}\r\n", chunk.len()).as_bytes())
                    .await
                    .ok()?;
                stream.write_all(chunk).await.ok()?;
                stream.write_all(b"\r\n").await.ok()?;
            }
            stream.write_all(b"0\r\n\r\n").await.ok()?;
            stream.flush().await.ok()
        }
        _ => {
            stream.write_all(&body).await.ok()?;
            stream.flush().await.ok()
        }
    }
}
