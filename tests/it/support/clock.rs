//! The time of a scenario.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rejoin::domain::Clock;

/// When a [`ManualClock`] starts.
const START: &str = "2026-12-01T12:00:00Z";

/// A clock that stands still until a test moves it.
#[derive(Clone)]
pub(crate) struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    pub(super) fn new() -> Self {
        let start: DateTime<Utc> = START.parse().expect("a time");
        Self(Arc::new(AtomicI64::new(start.timestamp_micros())))
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0.load(Ordering::SeqCst)).expect("within the calendar")
    }

    /// Moves it forward.
    pub(crate) fn advance(&self, time: Duration) {
        self.0.fetch_add(
            time.as_micros().try_into().expect("a short time"),
            Ordering::SeqCst,
        );
    }

    /// Moves it forward to so long after its start.
    pub(crate) fn advance_to(&self, after_start: Duration) {
        let start: DateTime<Utc> = START.parse().expect("a time");
        let at = start + after_start;
        self.0.fetch_max(at.timestamp_micros(), Ordering::SeqCst);
    }

    /// Moves it back.
    pub(crate) fn rewind(&self, time: TimeDelta) {
        self.0.fetch_sub(
            time.num_microseconds().expect("a short time"),
            Ordering::SeqCst,
        );
    }

    /// This clock for the app.
    pub(crate) fn clock(&self) -> Clock {
        let this = self.clone();
        Clock::from_fn(move || this.now().into())
    }
}
