//! What the service does, without HTTP: it fetches peers and stores them, and returns saved states
//! and history.
//!
//! | file | what |
//! |---|---|
//! | `snapshot` | peers fetched from 100ms now, and what is stored of them |
//! | `webhook` | the events that 100ms sends |
//! | `watch` | rooms that are looked at regularly, and fetches that events ask for |
//! | `forward` | events that are passed on to another endpoint |
//! | `presence` | peers that count as connected, and that nobody sees any more |
//! | `compaction` | rows of peers that no answer needs any more |
//! | `partitions` | the partitions of history |
//! | `reconcile` | what was lost while no replica could write |
//! | `restore` | saved states that go back to 100ms, by request or automatically; claims |
//!
//! The request handlers and the commands both call this. Nothing here knows HTTP or SQL, and
//! nothing holds a database connection while it waits for 100ms.

mod compaction;
mod forward;
mod lease;
mod metrics;
mod partitions;
mod presence;
mod reconcile;
mod restore;
mod snapshot;
mod watch;
mod webhook;

pub(crate) use self::metrics::{METRICS, WEBHOOKS_ENABLED};
use crate::domain::{Clock, Rules, SavedState, StoragePolicy, Timestamp};
use crate::hms;
use crate::store::{HistoryPage, HistoryQuery, Readiness, ResumeQuery, Store, StoreError};
pub use compaction::CompactionWorker;
pub use forward::{ForwardScheduling, ForwardWorker};
pub use partitions::PartitionWorker;
pub use reconcile::ReconcileWorker;
pub use restore::{RestoreError, RestoreRequest, RestoreResult, RestoreWorker};
pub use snapshot::{FetchedRoom, RoomSnapshot, SnapshotError};
pub use watch::{WatchScheduling, WatchWorker};
pub use webhook::{RestoreScheduling, WebhookError, WebhookOutcome, WebhookReceiver};

/// The service. Cheap to clone; clones share the client of 100ms and the store.
#[derive(Clone)]
pub struct Service {
    hms: hms::Client,
    store: Store,
    clock: Clock,
    storage_policy: StoragePolicy,
    rules: Rules,
    watches: WatchScheduling,
}

impl Service {
    /// A service that fetches with this client and stores in this store.
    pub fn new(
        hms: hms::Client,
        store: Store,
        clock: Clock,
        storage_policy: StoragePolicy,
        rules: Rules,
    ) -> Self {
        Self {
            hms,
            store,
            clock,
            storage_policy,
            rules,
            watches: WatchScheduling::default(),
        }
    }

    /// The same service, which wakes the worker of these watches.
    #[must_use]
    pub fn with_watches(self, watches: WatchScheduling) -> Self {
        Self { watches, ..self }
    }

    /// The same service for background work, with a share of 100ms of its own, at most `rate`.
    #[must_use]
    pub fn paced(&self, rate: hms::UpstreamRate) -> Self {
        Self {
            hms: self.hms.in_background(rate),
            ..self.in_background()
        }
    }

    /// The same service for background work, which requests do not wait for.
    fn in_background(&self) -> Self {
        Self {
            store: self.store.in_background(),
            ..self.clone()
        }
    }

    /// The present instant.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The saved state of a user; none where nothing was ever set, or it was cleared.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn resume(&self, query: ResumeQuery) -> Result<Option<SavedState>, StoreError> {
        let state = self.store.resume(query).await?;
        Ok(state.filter(|state| !self.rules.is_empty(&state.metadata)))
    }

    /// Whether a peer has metadata that a restore would replace, even if it cannot be stored.
    fn has_metadata(&self, peer: &hms::UpstreamPeer) -> bool {
        let metadata = peer.metadata.as_ref();
        metadata.map_or(true, |metadata| !self.rules.is_empty(metadata))
    }

    /// A page of a user's history.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn history(&self, query: &HistoryQuery) -> Result<HistoryPage, StoreError> {
        self.store.history(query).await
    }

    /// Whether requests can be served: the database answers.
    ///
    /// # Errors
    /// [`StoreError`] when it does not.
    pub async fn ready(&self) -> Result<Readiness, StoreError> {
        self.store.readiness().await
    }

    /// The number of connections to the database: all, and those in use.
    pub fn connections(&self) -> (u32, u32) {
        self.store.connections()
    }
}
