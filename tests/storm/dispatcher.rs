//! Between 100ms and the replicas: loses, delays, doubles, reorders and replays webhooks.
//!
//! What happens to an event depends on the seed and on the event alone, so that it stays the same in a shorter story.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use chrono::Utc;
use hms_sim::{Sim, WebhookTarget};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::client::Client;
use crate::journal::Span;
use crate::rng::Rng;

/// The secret of the webhooks.
pub(crate) const SECRET: &str = "storm-secret-1";

/// An event, and how often it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) body: Bytes,
    pub(crate) value: Value,
    key: String,
    /// Never delivered, whatever happens.
    pub(crate) lost: bool,
    /// Deliveries that were answered 200.
    pub(crate) acked: Vec<Span>,
    /// Deliveries that may have arrived.
    pub(crate) attempts: Vec<Span>,
}

struct Inner {
    seed: u64,
    client: Arc<Client>,
    events: Mutex<Vec<Event>>,
    counts: Mutex<BTreeMap<String, usize>>,
}

pub(crate) struct Dispatcher {
    inner: Arc<Inner>,
    serving: JoinHandle<()>,
}

/// What happens to an event on its way.
struct Fate {
    lost: bool,
    /// Not before the faults have ended.
    held: bool,
    /// When it is sent, for each copy, and to which replica first.
    copies: Vec<(Duration, usize)>,
}

impl Fate {
    fn of(seed: u64, key: &str) -> Self {
        let mut rng = Rng::keyed(seed, key);
        let (lost, held) = (rng.percent(7), rng.percent(10));
        let copies = if rng.percent(20) { 2 } else { 1 };
        let mut copy = || {
            let late = if rng.percent(40) {
                rng.between(1, 700)
            } else {
                0
            };
            (Duration::from_millis(late), rng.below(8))
        };
        let copies = (0..copies).map(|_| copy()).collect();
        Self { lost, held, copies }
    }
}

impl Dispatcher {
    /// Takes the webhooks of `sim` from now on.
    pub(crate) async fn start(seed: u64, sim: &Sim, client: Arc<Client>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("it is bound"));
        let target = WebhookTarget::new(&url, WebhookTarget::DEFAULT_HEADER, SECRET.into());
        sim.set_webhook_target(Some(target.expect("a URL")));
        let inner = Arc::new(Inner {
            seed,
            client,
            events: Mutex::default(),
            counts: Mutex::default(),
        });
        let taking = Arc::clone(&inner);
        let router = Router::new().route(
            "/",
            post(async move |body: Bytes| {
                take(&taking, body);
            }),
        );
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self { inner, serving }
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.inner.events.lock().unwrap().clone()
    }

    /// Delivers everything that has not arrived and is not lost; false where that was not possible in time.
    pub(crate) async fn deliver_outstanding(&self, attempts: usize) -> bool {
        for index in 0..self.events().len() {
            let outstanding = |event: &Event| !event.lost && event.acked.is_empty();
            let mut left = attempts;
            while outstanding(&self.inner.events.lock().unwrap()[index]) {
                if left == 0 {
                    return false;
                }
                left -= 1;
                if !deliver(&self.inner, index, index + left).await {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        true
    }

    /// Of what was lost, the ends of sessions and rooms are replayed.
    pub(crate) fn find_lost(&self) {
        let mut events = self.inner.events.lock().unwrap();
        for event in events
            .iter_mut()
            .filter(|event| event.value["data"]["peer_id"].is_null())
        {
            event.lost = false;
        }
    }

    /// Delivers some of what arrived before once more, last first.
    pub(crate) async fn replay_some(&self) {
        for (index, event) in self.events().iter().enumerate().rev() {
            if !event.lost
                && Rng::keyed(self.inner.seed, &format!("again {}", event.key)).percent(30)
            {
                // Where it stands is not documented.
                let mut value = event.value.clone();
                value["is_replay"] = true.into();
                send(&self.inner, index, index + 1, value.to_string().into()).await;
            }
        }
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn take(inner: &Arc<Inner>, body: Bytes) {
    let value: Value = serde_json::from_slice(&body).expect("100ms sends JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let data = &value["data"];
    let name = [&value["type"], &data["room_id"], &data["peer_id"]]
        .map(text)
        .join(" ");
    let number = {
        let mut counts = inner.counts.lock().unwrap();
        let count = counts.entry(name.clone()).or_default();
        *count += 1;
        *count
    };
    let key = format!("{name} {number}");
    let fate = Fate::of(inner.seed, &key);
    let index = {
        let mut events = inner.events.lock().unwrap();
        let lost = fate.lost;
        events.push(Event {
            body,
            value,
            key,
            lost,
            acked: Vec::new(),
            attempts: Vec::new(),
        });
        events.len() - 1
    };
    if fate.lost || fate.held {
        return;
    }
    for (delay, replica) in fate.copies {
        let inner = Arc::clone(inner);
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            // 100ms tries again, in longer times than these.
            for pause in [100, 300, 600] {
                if deliver(&inner, index, replica).await {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
        });
    }
}

/// One attempt. Whether it was answered 200.
async fn deliver(inner: &Inner, index: usize, replica: usize) -> bool {
    let body = inner.events.lock().unwrap()[index].body.clone();
    send(inner, index, replica, body).await
}

async fn send(inner: &Inner, index: usize, replica: usize, body: Bytes) -> bool {
    let sent = Utc::now();
    let answer = inner.client.webhook(replica, body).await;
    let span = Span {
        sent,
        done: Utc::now(),
    };
    let mut events = inner.events.lock().unwrap();
    events[index].attempts.push(span);
    let acked = answer.is_some_and(|answer| answer.status == 200);
    if acked {
        events[index].acked.push(span);
    }
    acked
}
