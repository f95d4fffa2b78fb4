//! Webhooks: events are sent to the target, at least once or not at all.
//!
//! An answer other than 200 is followed by retries, 1 s after the first attempt, 3 s after the
//! second and 10 s after the third; then the event is dropped. `settings` and `treatment` say what
//! goes wrong on the way, `outbox` is the queue and the log, `delivery` an entry of the log,
//! `envelope` the payloads, `history` and `workflows` what the REST API shows and replays.

mod delivery;
mod envelope;
mod history;
mod outbox;
mod settings;
mod treatment;
mod workflows;

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use chrono::Utc;
use secrecy::ExposeSecret;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

pub use self::delivery::{Attempt, Delivery, DeliveryState};
use self::envelope::Envelope;
pub(super) use self::history::{EventFilter, Outcome, PastEvent, Status};
use self::outbox::{Outbox, QueuedDelivery};
pub(super) use self::settings::RoomWebhook;
pub use self::settings::{Effect, LeaveAt, Replay, WebhookRule, WebhookSettings, WebhookTarget};
pub use self::workflows::{ReplayEnd, ReplayMark, ReplaySettings};
pub(super) use self::workflows::{ReplayRequest, Workflow};
use super::SimClock;
use super::model::Event;
use super::wire::time;

/// How long an attempt may take. How long 100ms waits is not documented.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The sender of webhooks.
pub(super) struct WebhookSender {
    outbox: Mutex<Outbox>,
    /// Wakes [`WebhookSender::run`] when something new may be due.
    wake: Notify,
}

impl WebhookSender {
    pub(super) fn new(target: Option<WebhookTarget>, clock: SimClock) -> Self {
        Self {
            outbox: Mutex::new(Outbox::new(target, clock)),
            wake: Notify::new(),
        }
    }

    pub(super) fn set_target(&self, target: Option<WebhookTarget>) {
        self.outbox().target = target;
    }

    /// Sends the events of this room to its own webhook from now on, or where all others go.
    pub(super) fn set_room_webhook(&self, room: &str, webhook: Option<&RoomWebhook>) {
        let target = webhook.and_then(RoomWebhook::target);
        self.outbox().set_room_target(room, target);
    }

    pub(super) fn settings(&self) -> WebhookSettings {
        self.outbox().settings.clone()
    }

    pub(super) fn set_settings(&self, settings: WebhookSettings) {
        self.outbox().set_settings(settings);
        self.wake.notify_one();
    }

    /// Sends these events, as the rules allow.
    pub(super) fn publish(&self, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        let mut outbox = self.outbox();
        for event in events {
            let at = event.at;
            outbox.publish(Envelope::new(event), at);
        }
        drop(outbox);
        self.wake.notify_one();
    }

    pub(super) fn replay(&self, replay: &Replay) -> usize {
        let replayed = self.outbox().replay(replay);
        self.wake.notify_one();
        replayed
    }

    /// Loses every event from now on, or no longer.
    pub(super) fn set_lose_all(&self, lose_all: bool) {
        self.outbox().settings.lose_all = lose_all;
    }

    pub(super) fn past_events(&self, filter: &EventFilter) -> Vec<PastEvent> {
        self.outbox().past_events(filter)
    }

    /// Starts a replay, unless an identical one is running. Whether it started comes with it.
    pub(super) fn start_replay(&self, request: ReplayRequest) -> (Workflow, bool) {
        let started = self.outbox().start_replay(request);
        self.wake.notify_one();
        started
    }

    pub(super) fn workflow(&self, id: &str) -> Option<Workflow> {
        self.outbox().workflow(id)
    }

    pub(super) fn send_raw(&self, body: &str) {
        self.outbox().send_raw(body);
        self.wake.notify_one();
    }

    pub(super) fn deliveries(&self) -> Vec<Delivery> {
        self.outbox().deliveries()
    }

    pub(super) fn pending(&self) -> usize {
        self.outbox().pending()
    }

    /// Delivers what is due until `shutdown`; what is not delivered by then never is.
    pub(super) async fn run(&self, shutdown: CancellationToken) {
        let mut client = None;
        let mut attempts = JoinSet::new();
        loop {
            let (due, parallel) = {
                let outbox = self.outbox();
                (outbox.next_due(), outbox.settings.parallel.max(1))
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.wake.notified() => {}
                Some(Ok((delivery, attempt))) = attempts.join_next() => self.outbox().settle(delivery, attempt),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() && attempts.len() < parallel => {
                    let client: &reqwest::Client = client.get_or_insert_with(new_client);
                    if let Some((delivery, target)) = self.outbox().take_due(Instant::now()) {
                        attempts.spawn(deliver(client.clone(), target, delivery));
                    }
                }
            }
        }
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().expect("no panic while locked")
    }
}

fn new_client() -> reqwest::Client {
    let client = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none());
    client
        .no_proxy()
        .build()
        .expect("this machine has root certificates")
}

/// One attempt.
async fn deliver(
    client: reqwest::Client,
    target: WebhookTarget,
    delivery: QueuedDelivery,
) -> (QueuedDelivery, Attempt) {
    let at = time(Utc::now());
    let mut request = client.post(target.url);
    for (name, secret) in &target.headers {
        request = request.header(name, secret.expose_secret());
    }
    let sent = request
        .header("content-type", "application/json")
        .body(delivery.body())
        .send()
        .await;
    let (status, error) = match sent {
        Ok(response) => (Some(response.status().as_u16()), None),
        Err(error) => (None, Some(error.without_url().to_string())),
    };
    (delivery, Attempt { at, status, error })
}
