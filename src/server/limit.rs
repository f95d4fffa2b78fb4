//! How many connections may be open, and what becomes of one too many.
//!
//! One beyond the limit is answered 503, so that its client tries again or elsewhere, unless it asks
//! for health or metrics. There is space for a few such connections. Beyond these, a connection is
//! closed at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::idle::HeadBudget;
use super::metrics::{CONNECTIONS, CONNECTIONS_REFUSED};
use crate::metrics::{CounterSeries, GaugeSeries};

/// How many connections beyond the limit are answered at a time.
const REFUSALS: usize = 256;
/// When this part of all connections is left, idle ones are closed.
const SCARCE_PART: usize = 16;
/// How often that may happen.
const RECLAIM_INTERVAL: Duration = Duration::from_secs(1);

/// Counts the connections.
pub(super) struct ConnectionLimit {
    regular: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    max: usize,
    open: GaugeSeries,
    refused: CounterSeries,
    /// Notified when connections are scarce.
    scarce: Arc<Notify>,
    reclaimed_at: Option<Instant>,
    head_budget: HeadBudget,
}

/// The right of one connection to be open.
pub(super) struct Admission {
    is_regular: bool,
    scarce: Arc<Notify>,
    head_budget: HeadBudget,
    open: GaugeSeries,
    _permit: OwnedSemaphorePermit,
}

impl ConnectionLimit {
    pub(super) fn new(max: usize) -> Self {
        let max = max.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            regular: Arc::new(Semaphore::new(max)),
            refusals: Arc::new(Semaphore::new(REFUSALS)),
            max,
            open: CONNECTIONS.of(&()),
            refused: CONNECTIONS_REFUSED.of(&()),
            scarce: Arc::default(),
            reclaimed_at: None,
            head_budget: HeadBudget::default(),
        }
    }

    /// Admits one more connection; none where it is to be closed at once.
    pub(super) fn admit(&mut self) -> Option<Admission> {
        let regular = self.regular.clone().try_acquire_owned().ok();
        if self.regular.available_permits() <= self.max / SCARCE_PART {
            self.reclaim();
        }
        let is_regular = regular.is_some();
        if !is_regular {
            self.refused.increment(1);
        }
        let permit = regular.or_else(|| self.refusals.clone().try_acquire_owned().ok())?;
        self.open.increment(1.0);
        Some(Admission {
            is_regular,
            scarce: self.scarce.clone(),
            head_budget: self.head_budget.clone(),
            open: self.open.clone(),
            _permit: permit,
        })
    }

    /// Has connections closed that have been idle for a while, so that others get theirs.
    fn reclaim(&mut self) {
        let now = Instant::now();
        if self
            .reclaimed_at
            .is_none_or(|before| now - before >= RECLAIM_INTERVAL)
        {
            self.reclaimed_at = Some(now);
            self.scarce.notify_waiters();
        }
    }
}

impl Admission {
    /// Whether it is within the limit.
    pub(super) fn is_regular(&self) -> bool {
        self.is_regular
    }

    /// What unfinished heads may have together.
    pub(super) fn head_budget(&self) -> HeadBudget {
        self.head_budget.clone()
    }

    /// Notified when connections are scarce.
    pub(super) fn scarce(&self) -> Arc<Notify> {
        self.scarce.clone()
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.open.decrement(1.0);
    }
}
