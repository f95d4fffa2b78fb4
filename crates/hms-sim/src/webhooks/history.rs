//! The history of deliveries: every event of late, and whether its webhook arrived.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};

use super::envelope::Envelope;

/// How many events are remembered.
const MAX_EVENTS: usize = 10_000;

/// An event, and what became of its webhook.
#[derive(Debug, Clone)]
pub(crate) struct PastEvent {
    /// Counts from 1.
    number: u64,
    pub(crate) at: DateTime<Utc>,
    pub(super) envelope: Envelope,
    /// Where it was sent, if there was a target.
    pub(crate) url: Option<String>,
    /// None while it is on its way, and without a target.
    pub(crate) outcome: Option<Outcome>,
}

/// How a delivery ended. Replays do not change it: 100ms numbers the failed events of a time by
/// `offset`, from one replay to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Delivered,
    /// Why it failed.
    Failed(String),
}

/// Which events are asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EventFilter {
    /// From then, inclusive.
    pub(crate) start: DateTime<Utc>,
    /// To then, inclusive.
    pub(crate) end: DateTime<Utc>,
    /// All rooms when empty.
    pub(crate) room_id: String,
    /// All types when empty.
    pub(crate) event_names: Vec<String>,
    pub(crate) status: Status,
}

/// Which outcomes are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    All,
    Failed,
    Success,
}

impl EventFilter {
    pub(super) fn matches(&self, event: &PastEvent) -> bool {
        let names = &self.event_names;
        let has_status = match &event.outcome {
            None => false,
            Some(Outcome::Delivered) => self.status != Status::Failed,
            Some(Outcome::Failed(_)) => self.status != Status::Success,
        };
        has_status
            && (self.start..=self.end).contains(&event.at)
            && (self.room_id.is_empty() || self.room_id == event.room_id())
            && (names.is_empty() || names.iter().any(|name| name == event.kind()))
    }
}

impl PastEvent {
    pub(crate) fn id(&self) -> &str {
        &self.envelope.id
    }

    pub(crate) fn kind(&self) -> &'static str {
        self.envelope.kind
    }

    pub(crate) fn room_id(&self) -> &str {
        self.envelope.room_id()
    }

    pub(crate) fn session_id(&self) -> &str {
        self.envelope.session_id()
    }

    /// The ids of the peer and of its user, where the event is about a peer.
    pub(crate) fn peer_and_user(&self) -> Option<(&str, &str)> {
        self.envelope.peer_and_user()
    }
}

/// The events of late, oldest first.
#[derive(Default)]
pub(super) struct History {
    events: VecDeque<PastEvent>,
    /// The number of the last event.
    numbers: u64,
}

impl History {
    /// Adds an event, and returns its number.
    pub(super) fn push(
        &mut self,
        envelope: Envelope,
        at: DateTime<Utc>,
        url: Option<String>,
    ) -> u64 {
        self.numbers += 1;
        self.events.push_back(PastEvent {
            number: self.numbers,
            at,
            envelope,
            url,
            outcome: None,
        });
        if self.events.len() > MAX_EVENTS {
            self.events.pop_front();
        }
        self.numbers
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &PastEvent> {
        self.events.iter()
    }

    /// Records how a copy of the event ended. It is delivered once one copy is.
    pub(super) fn settle(&mut self, number: u64, outcome: Outcome) {
        let first = self.events.front().map_or(0, |event| event.number);
        let index = number
            .checked_sub(first)
            .and_then(|index| usize::try_from(index).ok());
        if let Some(event) = index.and_then(|index| self.events.get_mut(index))
            && event.outcome != Some(Outcome::Delivered)
        {
            event.outcome = Some(outcome);
        }
    }
}
