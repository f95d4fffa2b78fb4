//! The simulator of 100ms over real HTTP: documented shapes, tokens, ghosts, faults and webhooks.

mod actions;
mod control;
mod faults;
mod payloads;
mod replays;
mod rest;
mod rooms;
mod sessions;
mod webhooks;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use hms_sim::{Sim, SimClock, SimConfig, serve};
use jsonwebtoken::{EncodingKey, Header, encode};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const ACCESS_KEY: &str = "test-access-key";
const SECRET: &str = "test-secret-of-a-sensible-length!";
const ROOM: &str = "627cda81ab4f3b56a077dc33";

/// A simulator on a port of its own, with a clock that can be moved on.
struct Running {
    sim: Sim,
    base: String,
    client: Client,
    shutdown: CancellationToken,
    server: JoinHandle<io::Result<()>>,
    ahead: Arc<AtomicI64>,
}

impl Running {
    async fn start() -> Self {
        let ahead = Arc::new(AtomicI64::new(0));
        let clock = {
            let ahead = Arc::clone(&ahead);
            SimClock::from_fn(move || {
                Utc::now() + TimeDelta::milliseconds(ahead.load(Ordering::SeqCst))
            })
        };
        let sim = Sim::new(SimConfig {
            clock,
            ..SimConfig::new(ACCESS_KEY, SECRET.into())
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(listener, sim.clone(), shutdown.clone()));
        let client = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Self {
            sim,
            base,
            client,
            shutdown,
            server,
            ahead,
        }
    }

    fn pass(&self, time: Duration) {
        self.ahead
            .fetch_add(time.as_millis().try_into().unwrap(), Ordering::SeqCst);
    }

    fn now(&self) -> DateTime<Utc> {
        Utc::now() + TimeDelta::milliseconds(self.ahead.load(Ordering::SeqCst))
    }

    /// A request to the REST API with a good token; `path` is what follows `/v2`.
    fn rest(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("{}/v2{path}", self.base))
            .bearer_auth(token(&claims(self.now())))
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        answer(self.rest(Method::GET, path)).await
    }

    async fn control(&self, method: Method, path: &str, body: &str) -> (StatusCode, Value) {
        answer(
            self.client
                .request(method, format!("{}/control{path}", self.base))
                .body(body.to_owned()),
        )
        .await
    }

    async fn stop(self) {
        self.shutdown.cancel();
        let stopped = tokio::time::timeout(Duration::from_secs(10), self.server).await;
        stopped
            .expect("the simulator stops within its grace")
            .unwrap()
            .unwrap();
    }
}

async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    let text = response.text().await.unwrap();
    (
        status,
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    )
}

fn claims(now: DateTime<Utc>) -> Value {
    let now = now.timestamp();
    json!({
        "access_key": ACCESS_KEY, "type": "management", "version": 2, "jti": uuid::Uuid::new_v4(),
        "iat": now - 10, "nbf": now - 10, "exp": now + 3600,
    })
}

fn token(claims: &Value) -> String {
    encode(
        &Header::default(),
        claims,
        &EncodingKey::from_secret(SECRET.as_bytes()),
    )
    .unwrap()
}

/// The shape of a JSON value: keys and types, with the ids that are keys of maps left out of
/// account.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(entries) => entries
            .iter()
            .map(|(key, item)| {
                let id = uuid::Uuid::parse_str(key).is_ok();
                (
                    if id { "(id)".to_owned() } else { key.clone() },
                    shape(item),
                )
            })
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Array(items) => items.first().map(shape).into_iter().collect(),
        Value::String(_) => json!("string"),
        Value::Number(_) => json!("number"),
        Value::Bool(_) => json!("bool"),
        Value::Null => Value::Null,
    }
}

/// Waits until `condition` holds, for at most half a minute.
async fn until(condition: impl Fn() -> bool) {
    for _ in 0..3000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not happen within half a minute");
}
