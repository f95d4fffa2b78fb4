//! The log entries of the outbox: what became of each copy of an event.

use serde::Serialize;

/// What became of one copy of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// Counts from 1.
    pub number: u64,
    /// The event's id; the same in all its copies.
    pub id: String,
    /// The event's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it was sent again on request.
    pub is_replay: bool,
    /// What became of it.
    pub state: DeliveryState,
    /// The attempts so far, at most four.
    pub attempts: Vec<Attempt>,
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// A reorder rule holds it back.
    Held,
    /// It waits for its first or next attempt, or is in flight.
    Pending,
    /// The receiver answered 200.
    Delivered,
    /// Every attempt failed.
    Dropped,
    /// It was never sent: a rule, no target, or too many waiting.
    Lost,
}

/// One attempt of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attempt {
    /// When it was made, RFC 3339.
    pub at: String,
    /// The receiver's answer.
    pub status: Option<u16>,
    /// Why there was none.
    pub error: Option<String>,
}
