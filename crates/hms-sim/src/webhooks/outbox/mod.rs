//! The queue of deliveries, and the log of their results. Everything in it is bounded.

mod replays;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::delivery::{Attempt, Delivery, DeliveryState};
use super::envelope::Envelope;
use super::history::{History, Outcome};
use super::settings::{WebhookSettings, WebhookTarget};
use super::treatment::Treatment;
use super::workflows::Workflows;
use crate::SimClock;

/// When the retries follow, counted from the first attempt: 1, 3 and 10 s after one another.
const RETRIES: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(14),
];
/// The wait between replayed events: 10 a second.
const REPLAY_PACE: Duration = Duration::from_millis(100);
/// Why a delivery failed that was never tried.
const LOST: &str = "timeout";
/// How many deliveries the log holds.
const MAX_LOG: usize = 1000;
/// How many deliveries may wait; more are lost.
const MAX_WAITING: usize = 100_000;

/// A copy of an event on its way.
pub(super) struct QueuedDelivery {
    message: Message,
    number: u64,
    attempts: usize,
    /// When its first attempt was made; the retries count from it.
    first_at: Instant,
}

impl QueuedDelivery {
    pub(super) fn body(&self) -> Bytes {
        self.message.body.clone()
    }
}

/// What is sent.
#[derive(Clone)]
struct Message {
    /// The event's id and type; empty where the body is of no event.
    id: String,
    kind: String,
    room: String,
    body: Bytes,
    origin: Origin,
}

/// What a copy of an event belongs to.
#[derive(Clone)]
enum Origin {
    /// The event of this number in the history.
    Event(u64),
    /// The replay of this id, and the id of the event.
    Workflow { id: String, event: String },
    /// A call of the control API.
    Control,
}

pub(super) struct Outbox {
    pub(super) target: Option<WebhookTarget>,
    /// The targets of rooms that have their own.
    room_targets: BTreeMap<String, WebhookTarget>,
    pub(super) settings: WebhookSettings,
    clock: SimClock,
    history: History,
    workflows: Workflows,
    waiting: BTreeMap<(Instant, u64), QueuedDelivery>,
    held: Vec<QueuedDelivery>,
    in_flight: usize,
    log: VecDeque<Delivery>,
    /// The number of the last delivery.
    numbers: u64,
    /// Orders deliveries that are due at the same instant by their arrival.
    sequence: u64,
}

impl Outbox {
    pub(super) fn new(target: Option<WebhookTarget>, clock: SimClock) -> Self {
        Self {
            target,
            room_targets: BTreeMap::new(),
            settings: WebhookSettings::default(),
            clock,
            history: History::default(),
            workflows: Workflows::default(),
            waiting: BTreeMap::new(),
            held: Vec::new(),
            in_flight: 0,
            log: VecDeque::new(),
            numbers: 0,
            sequence: 0,
        }
    }

    pub(super) fn set_settings(&mut self, settings: WebhookSettings) {
        self.settings = settings;
        self.release();
    }

    pub(super) fn set_room_target(&mut self, room: &str, target: Option<WebhookTarget>) {
        match target {
            Some(target) => drop(self.room_targets.insert(room.to_owned(), target)),
            None => drop(self.room_targets.remove(room)),
        }
    }

    /// Where the events of a room go: to its own webhook, or where all others go.
    fn target_of(&self, room: &str) -> Option<&WebhookTarget> {
        self.room_targets.get(room).or(self.target.as_ref())
    }

    /// Remembers an event and sends it, as the rules allow.
    pub(super) fn publish(&mut self, envelope: Envelope, at: DateTime<Utc>) {
        let mut treatment = Treatment::of(&mut self.settings, envelope.kind);
        let target = self.target_of(envelope.room_id());
        let url = target.map(|target| target.url.to_string());
        if url.is_none() {
            treatment = treatment.lost();
        }
        let state = treatment.state();
        let message = Message {
            id: envelope.id.clone(),
            kind: envelope.kind.to_owned(),
            room: envelope.room_id().to_owned(),
            body: body(&envelope),
            origin: Origin::Event(self.history.push(envelope, at, url)),
        };
        let due = Instant::now() + treatment.delay;
        for _ in 0..treatment.copies {
            self.add(message.clone(), state, due);
        }
        if treatment.group > 0 && self.held.len() >= treatment.group {
            self.release();
        }
    }

    /// Sends this body as it is.
    pub(super) fn send_raw(&mut self, text: &str) {
        let message = Message {
            id: String::new(),
            kind: String::new(),
            room: String::new(),
            body: Bytes::copy_from_slice(text.as_bytes()),
            origin: Origin::Control,
        };
        self.add(message, DeliveryState::Pending, Instant::now());
    }

    /// When the next attempt is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|(key, _)| key.0)
    }

    /// The next attempt, if one is due. Without a target it is lost.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<(QueuedDelivery, WebhookTarget)> {
        let first = self
            .waiting
            .first_entry()
            .filter(|first| first.key().0 <= now)?;
        let mut delivery = first.remove();
        let Some(target) = self.target_of(&delivery.message.room).cloned() else {
            self.end(&delivery, DeliveryState::Lost, LOST);
            return None;
        };
        if delivery.attempts == 0 {
            delivery.first_at = now;
        }
        self.in_flight += 1;
        Some((delivery, target))
    }

    /// Records an attempt: exactly 200 delivers, anything else is tried again until the retries are
    /// used up.
    pub(super) fn settle(&mut self, mut delivery: QueuedDelivery, attempt: Attempt) {
        self.in_flight -= 1;
        let delivered = attempt.status == Some(200);
        let failure = failure(&attempt);
        if let Some(entry) = self.entry(delivery.number) {
            entry.attempts.push(attempt);
        }
        match RETRIES.get(delivery.attempts) {
            _ if delivered => self.end(&delivery, DeliveryState::Delivered, ""),
            None => self.end(&delivery, DeliveryState::Dropped, &failure),
            Some(wait) => {
                delivery.attempts += 1;
                self.enqueue(
                    delivery.first_at + scaled(*wait, self.settings.time_scale),
                    delivery,
                );
            }
        }
    }

    pub(super) fn deliveries(&self) -> Vec<Delivery> {
        self.log.iter().cloned().collect()
    }

    /// How many deliveries are not settled.
    pub(super) fn pending(&self) -> usize {
        self.waiting.len() + self.held.len() + self.in_flight
    }

    /// Records how a copy of an event ended, where its origin is recorded too.
    fn end(&mut self, delivery: &QueuedDelivery, state: DeliveryState, failure: &str) {
        self.set_state(delivery.number, state);
        let delivered = state == DeliveryState::Delivered;
        match &delivery.message.origin {
            Origin::Event(number) if delivered => self.history.settle(*number, Outcome::Delivered),
            Origin::Event(number) => {
                let failed = Outcome::Failed(failure.to_owned());
                self.history.settle(*number, failed);
            }
            Origin::Workflow { id, event } => {
                let now = self.clock.now();
                self.workflows.settle(id, event, delivered, now);
            }
            Origin::Control => {}
        }
    }

    /// Adds a copy of an event, and returns its number.
    fn add(&mut self, message: Message, state: DeliveryState, due: Instant) -> u64 {
        let state = if self.pending() < MAX_WAITING {
            state
        } else {
            DeliveryState::Lost
        };
        self.numbers += 1;
        let number = self.numbers;
        self.log.push_back(Delivery {
            number,
            id: message.id.clone(),
            kind: message.kind.clone(),
            is_replay: false,
            state,
            attempts: Vec::new(),
        });
        if self.log.len() > MAX_LOG {
            self.log.pop_front();
        }
        let delivery = QueuedDelivery {
            message,
            number,
            attempts: 0,
            first_at: due,
        };
        match state {
            DeliveryState::Held => self.held.push(delivery),
            DeliveryState::Pending => self.enqueue(due, delivery),
            // Without a target 100ms has nothing to deliver, so nothing failed.
            DeliveryState::Lost if self.target_of(&delivery.message.room).is_some() => {
                self.end(&delivery, state, LOST);
            }
            DeliveryState::Delivered | DeliveryState::Dropped | DeliveryState::Lost => {}
        }
        number
    }

    fn enqueue(&mut self, due: Instant, delivery: QueuedDelivery) {
        self.sequence += 1;
        self.waiting.insert((due, self.sequence), delivery);
    }

    /// Sends what was held back, last first.
    fn release(&mut self) {
        let now = Instant::now();
        for delivery in std::mem::take(&mut self.held).into_iter().rev() {
            self.set_state(delivery.number, DeliveryState::Pending);
            self.enqueue(delivery.first_at.max(now), delivery);
        }
    }

    fn set_state(&mut self, number: u64, state: DeliveryState) {
        if let Some(entry) = self.entry(number) {
            entry.state = state;
        }
    }

    fn entry(&mut self, number: u64) -> Option<&mut Delivery> {
        let first = self.log.front()?.number;
        self.log
            .get_mut(usize::try_from(number.checked_sub(first)?).ok()?)
    }
}

fn body(event: &Envelope) -> Bytes {
    serde_json::to_vec(event)
        .expect("an envelope has string keys only")
        .into()
}

/// Why an attempt failed. 100ms documents `timeout` alone.
fn failure(attempt: &Attempt) -> String {
    let status = attempt.status.map(|status| format!("status {status}"));
    status.unwrap_or_else(|| LOST.to_owned())
}

/// A wait as the settings stretch it; one that is no time is none.
fn scaled(wait: Duration, scale: f64) -> Duration {
    Duration::try_from_secs_f64(wait.as_secs_f64() * scale).unwrap_or_default()
}
