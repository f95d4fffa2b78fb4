//! The queue of deliveries, and the log of their results. Everything in it is bounded.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::delivery::{Attempt, Delivery, DeliveryState};
use super::envelope::Envelope;
use super::settings::{Effect, Replay, WebhookSettings, WebhookTarget};

/// When the retries follow, counted from the first attempt.
const RETRIES: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(10),
];
/// The wait between replayed events: 10 a second.
const REPLAY_PACE: Duration = Duration::from_millis(100);
/// How many events can be replayed.
const MAX_EVENTS: usize = 2000;
/// How many deliveries the log holds.
const MAX_LOG: usize = 1000;
/// How many deliveries may wait; more are lost.
const MAX_WAITING: usize = 100_000;

/// A copy of an event on its way.
pub(super) struct QueuedDelivery {
    pub(super) body: Bytes,
    number: u64,
    attempts: usize,
    /// When its first attempt was made; the retries count from it.
    first_at: Instant,
}

pub(super) struct Outbox {
    pub(super) target: Option<WebhookTarget>,
    pub(super) settings: WebhookSettings,
    events: VecDeque<Envelope>,
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
    pub(super) fn new(target: Option<WebhookTarget>) -> Self {
        Self {
            target,
            settings: WebhookSettings::default(),
            events: VecDeque::new(),
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
    pub(super) fn publish(&mut self, event: Envelope) {
        let treatment = self.treatment(event.kind);
        let body = body(&event);
        for _ in 0..treatment.copies {
            let state = if treatment.group > 0 {
                DeliveryState::Held
            } else {
                DeliveryState::Pending
            };
            let due = Instant::now() + treatment.delay;
            self.add(
                &event.id,
                event.kind,
                body.clone(),
                false,
                if treatment.lost {
                    DeliveryState::Lost
                } else {
                    state
                },
                due,
            );
        }
        if treatment.group > 0 && self.held.len() >= treatment.group {
            self.release();
        }
        self.events.push_back(event);
        if self.events.len() > MAX_EVENTS {
            self.events.pop_front();
        }
    }

    /// Sends past events again, untouched by the rules.
    pub(super) fn replay(&mut self, replay: &Replay) -> usize {
        let events: Vec<_> = self
            .events
            .iter()
            .filter(|event| replay.takes(&event.id, event.kind))
            .cloned()
            .collect();
        let pace = scaled(REPLAY_PACE, self.settings.time_scale);
        let mut due = Instant::now();
        for event in &events {
            let body = body(&event.replayed(replay.in_data));
            self.add(
                &event.id,
                event.kind,
                body,
                true,
                DeliveryState::Pending,
                due,
            );
            due += pace;
        }
        events.len()
    }

    pub(super) fn send_raw(&mut self, text: &str) {
        let body = Bytes::copy_from_slice(text.as_bytes());
        self.add("", "", body, false, DeliveryState::Pending, Instant::now());
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
            self.set_state(delivery.number, DeliveryState::Lost);
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
        if let Some(entry) = self.entry(delivery.number) {
            entry.attempts.push(attempt);
        }
        match RETRIES.get(delivery.attempts) {
            _ if delivered => self.set_state(delivery.number, DeliveryState::Delivered),
            None => self.set_state(delivery.number, DeliveryState::Dropped),
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

    fn treatment(&mut self, kind: &str) -> Treatment {
        let mut treatment = Treatment {
            lost: self.target.is_none(),
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

    fn add(
        &mut self,
        id: &str,
        kind: &str,
        body: Bytes,
        is_replay: bool,
        state: DeliveryState,
        due: Instant,
    ) {
        let state = if self.pending() < MAX_WAITING {
            state
        } else {
            DeliveryState::Lost
        };
        self.numbers += 1;
        let number = self.numbers;
        let (id, kind) = (id.to_owned(), kind.to_owned());
        self.log.push_back(Delivery {
            number,
            id,
            kind,
            is_replay,
            state,
            attempts: Vec::new(),
        });
        if self.log.len() > MAX_LOG {
            self.log.pop_front();
        }
        let delivery = QueuedDelivery {
            body,
            number,
            attempts: 0,
            first_at: due,
        };
        match state {
            DeliveryState::Held => self.held.push(delivery),
            DeliveryState::Pending => self.enqueue(due, delivery),
            DeliveryState::Delivered | DeliveryState::Dropped | DeliveryState::Lost => {}
        }
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

/// A wait as the settings stretch it; one that is no time is none.
fn scaled(wait: Duration, scale: f64) -> Duration {
    Duration::try_from_secs_f64(wait.as_secs_f64() * scale).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox() -> Outbox {
        Outbox::new(Some(
            WebhookTarget::new("http://127.0.0.1/", "x-secret", "s".into()).unwrap(),
        ))
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
        let mut outbox = Outbox::new(None);
        outbox.send_raw("{}");
        assert!(outbox.take_due(Instant::now()).is_none());
        assert_eq!(
            (outbox.pending(), outbox.deliveries()[0].state),
            (0, DeliveryState::Lost)
        );
    }
}
