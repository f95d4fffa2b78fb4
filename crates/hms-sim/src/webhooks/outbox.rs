//! The queue of deliveries, and the log of their results. Everything in it is bounded.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::delivery::{Attempt, Delivery, DeliveryState};
use super::envelope::Envelope;
use super::history::{EventFilter, History, Outcome, PastEvent};
use super::settings::{Effect, Replay, WebhookSettings, WebhookTarget};
use super::workflows::{ReplayMark, ReplayRequest, Workflow, Workflows};
use crate::SimClock;

/// When the retries follow, counted from the first attempt.
const RETRIES: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(10),
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
    pub(super) body: Bytes,
    number: u64,
    origin: Origin,
    attempts: usize,
    /// When its first attempt was made; the retries count from it.
    first_at: Instant,
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

    /// Remembers an event and sends it, as the rules allow.
    pub(super) fn publish(&mut self, envelope: Envelope, at: DateTime<Utc>) {
        let treatment = self.treatment(envelope.kind);
        let url = self.target.as_ref().map(|target| target.url.to_string());
        let state = match &treatment {
            Treatment { lost: true, .. } => DeliveryState::Lost,
            Treatment { group: 0, .. } => DeliveryState::Pending,
            _ => DeliveryState::Held,
        };
        let body = body(&envelope);
        let (id, kind) = (envelope.id.clone(), envelope.kind);
        let origin = Origin::Event(self.history.push(envelope, at, url));
        let due = Instant::now() + treatment.delay;
        for _ in 0..treatment.copies {
            self.add(&id, kind, body.clone(), origin.clone(), state, due);
        }
        if treatment.group > 0 && self.held.len() >= treatment.group {
            self.release();
        }
    }

    /// Sends past events again, untouched by the rules.
    pub(super) fn replay(&mut self, replay: &Replay) -> usize {
        let events = self
            .history
            .iter()
            .filter(|event| replay.takes(event.id(), event.kind()));
        let events: Vec<PastEvent> = events.cloned().collect();
        let mark = if replay.in_data {
            ReplayMark::Data
        } else {
            ReplayMark::TopLevel
        };
        self.send_again(&events, mark, Instant::now(), |_| Origin::Control);
        events.len()
    }

    /// The events that match, oldest first.
    pub(super) fn past_events(&self, filter: &EventFilter) -> Vec<PastEvent> {
        let events = self.history.iter().filter(|event| filter.matches(event));
        events.cloned().collect()
    }

    /// Starts a replay, unless an identical one is running. Whether it started comes with it.
    pub(super) fn start_replay(&mut self, request: ReplayRequest) -> (Workflow, bool) {
        if let Some(running) = self.workflows.running(&request) {
            return (running.clone(), false);
        }
        let mut events = self.past_events(&request.filter);
        events.drain(..request.offset.min(events.len()));
        events.truncate(request.limit);
        let settings = self.settings.replays.clone();
        let now = self.clock.now();
        let workflow = self.workflows.start(request, &settings, events.len(), now);
        let (sends, first) = Workflows::plan(&workflow);
        events.truncate(sends);
        self.send_again(&events, settings.mark, first, |event| Origin::Workflow {
            id: workflow.id.clone(),
            event: event.id().to_owned(),
        });
        (workflow, true)
    }

    pub(super) fn workflow(&self, id: &str) -> Option<Workflow> {
        self.workflows.get(id).cloned()
    }

    /// Sends events at the pace of replays, the first one at `first`.
    fn send_again(
        &mut self,
        events: &[PastEvent],
        mark: ReplayMark,
        first: Instant,
        origin: impl Fn(&PastEvent) -> Origin,
    ) {
        let pace = scaled(REPLAY_PACE, self.settings.time_scale);
        let mut due = first;
        for event in events {
            let body = body(&event.envelope.replayed(mark));
            self.add_replay(event, body, origin(event), due);
            due += pace;
        }
    }

    fn add_replay(&mut self, event: &PastEvent, body: Bytes, origin: Origin, due: Instant) {
        let number = self.add(
            event.id(),
            event.kind(),
            body,
            origin,
            DeliveryState::Pending,
            due,
        );
        if let Some(entry) = self.entry(number) {
            entry.is_replay = true;
        }
    }

    pub(super) fn send_raw(&mut self, text: &str) {
        let body = Bytes::copy_from_slice(text.as_bytes());
        let now = Instant::now();
        self.add("", "", body, Origin::Control, DeliveryState::Pending, now);
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
        let Some(target) = self.target.clone() else {
            self.end(delivery.number, &delivery.origin, DeliveryState::Lost, LOST);
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
            _ if delivered => {
                self.end(
                    delivery.number,
                    &delivery.origin,
                    DeliveryState::Delivered,
                    "",
                );
            }
            None => self.end(
                delivery.number,
                &delivery.origin,
                DeliveryState::Dropped,
                &failure,
            ),
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
    fn end(&mut self, number: u64, origin: &Origin, state: DeliveryState, failure: &str) {
        self.set_state(number, state);
        let delivered = state == DeliveryState::Delivered;
        match origin {
            Origin::Event(number) if delivered => self.history.settle(*number, Outcome::Delivered),
            Origin::Event(number) => {
                self.history
                    .settle(*number, Outcome::Failed(failure.to_owned()));
            }
            Origin::Workflow { id, event } => {
                let now = self.clock.now();
                self.workflows.settle(id, event, delivered, now);
            }
            Origin::Control => {}
        }
    }

    fn treatment(&mut self, kind: &str) -> Treatment {
        let mut treatment = Treatment {
            lost: self.target.is_none() || self.settings.lose_all,
            copies: 1,
            delay: Duration::ZERO,
            group: 0,
        };
        for rule in &mut self.settings.rules {
            match rule.takes(kind).then_some(rule.effect) {
                None => {}
                Some(Effect::Lose) => treatment.lost = true,
                Some(Effect::Duplicate(more)) => treatment.copies += more,
                Some(Effect::DelayMs(ms)) => treatment.delay += Duration::from_millis(ms),
                Some(Effect::Reorder(group)) => treatment.group = group,
            }
        }
        if treatment.lost {
            Treatment {
                copies: 1,
                group: 0,
                ..treatment
            }
        } else {
            treatment
        }
    }

    /// Adds a copy of an event, and returns its number.
    fn add(
        &mut self,
        id: &str,
        kind: &str,
        body: Bytes,
        origin: Origin,
        state: DeliveryState,
        due: Instant,
    ) -> u64 {
        let state = if self.pending() < MAX_WAITING {
            state
        } else {
            DeliveryState::Lost
        };
        self.numbers += 1;
        let number = self.numbers;
        self.log.push_back(Delivery {
            number,
            id: id.to_owned(),
            kind: kind.to_owned(),
            is_replay: false,
            state,
            attempts: Vec::new(),
        });
        if self.log.len() > MAX_LOG {
            self.log.pop_front();
        }
        if state == DeliveryState::Lost {
            // Without a target 100ms has nothing to deliver, so nothing failed.
            if self.target.is_some() {
                self.end(number, &origin, state, LOST);
            }
            return number;
        }
        let delivery = QueuedDelivery {
            body,
            number,
            origin,
            attempts: 0,
            first_at: due,
        };
        if state == DeliveryState::Held {
            self.held.push(delivery);
        } else {
            self.enqueue(due, delivery);
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

/// What the rules do to an event.
struct Treatment {
    lost: bool,
    copies: u32,
    delay: Duration,
    /// The size of the group it is held back for; 0 when it is not.
    group: usize,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox() -> Outbox {
        Outbox::new(
            Some(WebhookTarget::new("http://127.0.0.1/", "x-secret", "s".into()).unwrap()),
            SimClock::system(),
        )
    }

    fn answer(status: u16) -> Attempt {
        Attempt {
            at: String::new(),
            status: Some(status),
            error: None,
        }
    }

    #[test]
    fn retries_are_due_1_3_and_10_seconds_after_the_first_attempt() {
        for scale in [1.0, 0.5] {
            let mut outbox = outbox();
            outbox.set_settings(WebhookSettings {
                time_scale: scale,
                ..WebhookSettings::default()
            });
            outbox.send_raw("{}");
            let start = Instant::now();
            for due in [0, 1, 3, 10] {
                let at = start + Duration::from_secs(due).mul_f64(scale);
                assert!(due == 0 || outbox.next_due() == Some(at), "{due} s");
                let (delivery, _) = outbox.take_due(at).unwrap();
                assert_eq!((outbox.pending(), outbox.next_due()), (1, None));
                outbox.settle(delivery, answer(204));
            }
            assert_eq!((outbox.pending(), outbox.next_due()), (0, None));
            assert_eq!(outbox.deliveries()[0].state, DeliveryState::Dropped);
        }
    }

    #[test]
    fn what_comes_without_a_target_is_lost() {
        let mut outbox = Outbox::new(None, SimClock::system());
        outbox.send_raw("{}");
        assert!(outbox.take_due(Instant::now()).is_none());
        assert_eq!(
            (outbox.pending(), outbox.deliveries()[0].state),
            (0, DeliveryState::Lost)
        );
    }
}
