//! The client of 100ms over real HTTP: what it sends, and what it returns for every kind of answer.

mod answers;
mod faults;
mod observed;
mod rate_limit;
mod requests;
mod tokens;

use std::time::Duration;

use rejoin::domain::{PeerId, ProblemCode, RoomId, UserId};
use rejoin::hms::{
    Client, ClientConfig, Credentials, Fetched, HmsError, UpstreamPeer, UpstreamRate,
};

use crate::support::scripted::{Answer, Scripted};

const PEER: &str = "1038fa72-9345-4651-beab-436f9242ebf4";
const ROOM: &str = "627cda81ab4f3b56a077dc33";
const PEER_LINE: &str =
    "GET /v2/active-rooms/627cda81ab4f3b56a077dc33/peers/1038fa72-9345-4651-beab-436f9242ebf4";
const LIST_LINE: &str = "GET /v2/active-rooms/627cda81ab4f3b56a077dc33/peers";
const ROOM_LINE: &str = "GET /v2/active-rooms/627cda81ab4f3b56a077dc33";

/// A peer as documented.
const PEER_BODY: &str = r#"{"id":"1038fa72-9345-4651-beab-436f9242ebf4","name":"player seven","user_id":"player-7",
    "metadata":"{\"checkpoint\":\"cave-3\",\"hp\":71}","role":"player","joined_at":"2026-03-01T10:00:00.123456789Z",
    "tracks":{"t":{"mute":true}}}"#;
const NOT_FOUND: &str = r#"{"code":404,"message":"not found","details":[]}"#;

fn room() -> RoomId {
    RoomId::parse(ROOM).unwrap()
}

fn peer_id() -> PeerId {
    PeerId::parse(PEER).unwrap()
}

/// Settings for a client of this server. The budget is long, so that only what is tested ends an
/// operation.
fn config(server: &Scripted) -> ClientConfig {
    let base = format!("http://127.0.0.1:{}/v2", server.port)
        .parse()
        .unwrap();
    let timeout = Duration::from_secs(20);
    ClientConfig {
        timeout,
        ..ClientConfig::new(base, Credentials::key("access", "secret"))
    }
}

fn client(server: &Scripted) -> Client {
    Client::new(config(server)).unwrap()
}

/// A client with a short budget.
fn impatient_client(server: &Scripted) -> Client {
    Client::new(ClientConfig {
        timeout: Duration::from_millis(300),
        ..config(server)
    })
    .unwrap()
}

async fn fetch_peer(client: &Client) -> Result<Fetched<UpstreamPeer>, HmsError> {
    client.peer(&room(), &peer_id()).await
}

async fn fetch_peers(client: &Client) -> Result<Fetched<Vec<UpstreamPeer>>, HmsError> {
    let Fetched { sent_at, mut value } = client.peers(&room(), None::<&UserId>, None).await?;
    let value = value.read_all().await?;
    Ok(Fetched { sent_at, value })
}

/// Fetches the peer from a server with these answers. Returns the result and the requests sent.
async fn fetch_from(
    answers: impl IntoIterator<Item = Answer>,
) -> (Result<UpstreamPeer, HmsError>, Vec<String>) {
    let server = Scripted::answers(answers).await;
    let result = fetch_peer(&client(&server)).await;
    (result.map(|fetched| fetched.value), server.lines())
}

/// The code of a failure.
fn code<T: std::fmt::Debug>(result: Result<T, HmsError>) -> ProblemCode {
    result.unwrap_err().code()
}

/// The wait of a failure that is a rate limit.
fn retry_after<T: std::fmt::Debug>(result: Result<T, HmsError>) -> Duration {
    match result {
        Err(HmsError::RateLimited { retry_after }) => retry_after,
        other => panic!("not rate-limited: {other:?}"),
    }
}
