//! Forwards: what is passed on, in which order, what becomes of it where the endpoint fails, and that
//! nothing is lost when a replica dies.

mod api;
mod aside;
mod delivery;
mod failing;
mod own_events;
mod programs;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rejoin::config::ForwardArgs;
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool};

use crate::support::scripted::{Answer, Received, Scripted};
use crate::support::wait::until_within;
use crate::support::webhooks::{join_event, send_event};
use crate::support::world::{Replica, Setup, World};

/// Longer than a lease and the pauses after it, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// An endpoint that answers as it is set to, and remembers what it accepted.
struct Endpoint {
    server: Scripted,
    url: String,
    answer: Arc<Mutex<Answer>>,
    accepted: Arc<Mutex<Vec<Received>>>,
}

impl Endpoint {
    async fn new() -> Self {
        Self::at(0).await
    }

    async fn at(port: u16) -> Self {
        let answer = Arc::new(Mutex::new(Answer::ok("")));
        let accepted = Arc::new(Mutex::new(Vec::new()));
        let (answers, accepts) = (answer.clone(), accepted.clone());
        let server = Scripted::at(port, move |received| {
            let answer: Answer = answers.lock().unwrap().clone();
            if answer.is_success() {
                accepts.lock().unwrap().push(received.clone());
            }
            answer
        })
        .await;
        Self {
            url: format!("http://127.0.0.1:{}/hooks", server.port),
            server,
            answer,
            accepted,
        }
    }

    fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// What it accepted, in order.
    fn accepted(&self) -> Vec<Received> {
        self.accepted.lock().unwrap().clone()
    }

    /// The room and the peer of each event that it accepted, in order.
    fn peers(&self) -> Vec<(String, String)> {
        let accepted = self.accepted().into_iter();
        accepted
            .map(|received| {
                let event: Value = serde_json::from_str(&received.body).unwrap();
                let id = |name: &str| event["data"][name].as_str().unwrap_or_default().to_owned();
                (id("room_id"), id("peer_id"))
            })
            .collect()
    }

    async fn until_accepted(&self, count: usize) {
        until_within(PATIENCE, "the events are accepted", async || {
            self.accepted().len() >= count
        })
        .await;
    }

    async fn until_asked(&self, count: usize) {
        until_within(PATIENCE, "the endpoint is asked", async || {
            self.server.received().len() >= count
        })
        .await;
    }
}

/// Replicas that take webhooks and pass them on there.
fn forwarding_to(endpoint: &Endpoint) -> Setup {
    Setup {
        forwards: ForwardArgs::to(&endpoint.url),
        ..Setup::with_webhooks()
    }
}

/// A world with an endpoint and a replica that passes events on to it.
async fn world() -> (World, Endpoint, Replica) {
    let world = World::new().await;
    let endpoint = Endpoint::new().await;
    let app = world.replica(forwarding_to(&endpoint)).await;
    (world, endpoint, app)
}

/// The event of a join in a room.
fn join_in(room: &str, peer: &str) -> Value {
    let mut event = join_event(peer, 0, "hp 71");
    event["data"]["room_id"] = room.into();
    event
}

/// Sends the joins of so many peers, `p0` and so on, in each of these rooms, one after another.
async fn send_joins(app: &Replica, rooms: &[&str], peers: std::ops::Range<usize>) {
    for peer in peers {
        for room in rooms {
            let event = join_in(room, &format!("p{peer}"));
            send_event(app, &event).await.expect(200);
        }
    }
}

/// That in each room so many peers' events were accepted, once each and in order.
fn assert_in_order(endpoint: &Endpoint, rooms: &[&str], peers: usize) {
    let accepted = endpoint.peers();
    assert_eq!(accepted.len(), rooms.len() * peers);
    for room in rooms {
        let of_room = accepted.iter().filter(|(other, _)| other == room);
        let of_room: Vec<&str> = of_room.map(|(_, peer)| &**peer).collect();
        let expected: Vec<String> = (0..peers).map(|peer| format!("p{peer}")).collect();
        assert_eq!(of_room, expected, "{room}");
    }
}

/// What this SQL counts.
async fn count(pool: &PgPool, sql: &str) -> i64 {
    let sql = AssertSqlSafe(format!("SELECT count(*) FROM {sql}"));
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
}

/// Waits until no event waits any more.
async fn until_none_waits(pool: &PgPool) {
    until_within(PATIENCE, "no event waits", async || {
        count(pool, "forwards WHERE state = 'waiting'").await == 0
    })
    .await;
}

/// Makes all events due that wait for another attempt.
async fn make_due(pool: &PgPool) {
    let sql = "UPDATE forwards SET due_at = now() WHERE state = 'waiting' AND NOT sending";
    sqlx::query(sql).execute(pool).await.unwrap();
}
