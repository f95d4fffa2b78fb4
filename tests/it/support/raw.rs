//! Requests byte by byte, which no HTTP client would send.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::replica::{Answer, Replica};

/// A connection to the app, on which nothing was sent yet.
pub(crate) async fn connect(app: &Replica) -> TcpStream {
    let address = app.base.trim_start_matches("http://");
    TcpStream::connect(address).await.expect("the app listens")
}

/// Sends exactly this request, which no URL library touches.
pub(crate) async fn send_raw(app: &Replica, method: &str, target: &str, rest: &str) -> Answer {
    let address = app.base.trim_start_matches("http://");
    let mut stream = connect(app).await;
    let head =
        format!("{method} {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{rest}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, text) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let mut lines = head.lines();
    let status = lines
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let headers = lines.map(|line| line.split_once(": ").unwrap());
    let headers = headers
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect();
    Answer {
        status,
        headers,
        text: text.to_owned(),
    }
}
