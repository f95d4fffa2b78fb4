//! Watches: rooms that are looked at regularly, and peers that are fetched when an event says that
//! the moment matters.
//!
//! | file | what |
//! |---|---|
//! | `worker` | takes what is due, as all replicas do, and keeps it for as long as it works on it |
//! | `look` | one look at a room, and one fetch |
//! | `discovery` | the list of active sessions, for rooms that no webhook reported |

mod discovery;
mod look;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::TimeDelta;
use tokio::sync::Notify;

use super::Service;
use crate::domain::{EventKind, RoomId, Timestamp, Watch, WatchInterval, WatchRequest};
use crate::store::{NewWatch, StoreError, WatchPage};

pub(super) use look::problem;
pub use worker::WatchWorker;

/// For how long after an event its peers are worth fetching: longer than 100ms lists a ghost, and
/// than it retries an event.
const EVENT_WINDOW: TimeDelta = TimeDelta::seconds(90);

/// How events and requests reach the worker of this replica. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct WatchScheduling {
    /// How often rooms are looked at whose watch a join or the start of a session begins; none where
    /// these begin none.
    every: Option<WatchInterval>,
    /// Whether there are any watches, as the worker knows.
    any: Arc<AtomicBool>,
    wake: Arc<Notify>,
}

impl WatchScheduling {
    /// With `every`, all active rooms are watched.
    pub fn new(every: Option<WatchInterval>) -> Self {
        Self {
            every,
            any: Arc::new(AtomicBool::new(every.is_some())),
            wake: Arc::default(),
        }
    }

    /// How often active rooms are looked at, if all are watched.
    pub(super) fn every(&self) -> Option<WatchInterval> {
        self.every
    }

    /// What an event asks of watches. Nothing while there are none, so that it costs nothing.
    pub(super) fn request(
        &self,
        kind: EventKind,
        at: Timestamp,
        now: Timestamp,
    ) -> Option<WatchRequest> {
        let matters = matches!(kind, EventKind::Join | EventKind::RoleChange);
        let is_recent = now <= at.shifted(EVENT_WINDOW);
        (matters && is_recent && self.any.load(Ordering::Relaxed)).then_some(WatchRequest {
            kind,
            at,
            starts: self.every,
        })
    }

    /// There may be something to do.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }
}

impl Service {
    /// Begins a watch, or changes the one that there is. Returns it, and whether it is new.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put_watch(&self, watch: NewWatch) -> Result<(Watch, bool), StoreError> {
        let put = self.store.put_watch(watch).await?;
        self.watches.any.store(true, Ordering::Relaxed);
        self.watches.wake();
        Ok(put)
    }

    /// The watch of a room.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn watch(&self, room_id: &RoomId) -> Result<Option<Watch>, StoreError> {
        self.store.watch(room_id).await
    }

    /// Ends the watch of a room; false where there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_watch(&self, room_id: &RoomId) -> Result<bool, StoreError> {
        self.store.delete_watch(room_id).await
    }

    /// A page of the watches.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn watches(&self, page: WatchPage, limit: u16) -> Result<Vec<Watch>, StoreError> {
        self.store.watches(page, limit).await
    }
}
