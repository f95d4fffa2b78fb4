//! Webhooks of 100ms: what each event tells, and keeping it.
//!
//! Nobody signs them, they come at least once or not at all, late, twice and in any order. So an event is only ever one
//! more report: a sight of a peer at the event's own time, and what it says of presence. Facts: 100ms's webhook pages.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::TimeDelta;
use serde_json::value::RawValue;
use tokio::sync::Notify;

use crate::domain::{Clock, EventReport, KeyTooLarge, Metadata, PeerKey, Presence, Timestamp};
use crate::hms::webhook::{self as event, Event, NotAnEvent, PeerEvent};
use crate::metrics::WEBHOOKS;
use crate::service::StoragePolicy;
use crate::store::{Store, StoreError};

/// Keeps what webhooks tell.
#[derive(Clone)]
pub struct WebhookReceiver {
    store: Store,
    clock: Clock,
    limits: StoragePolicy,
    drop_reasons: BTreeSet<String>,
    restores: Option<RestoreScheduling>,
}

/// Restores that joins cause.
#[derive(Debug, Clone)]
pub struct RestoreScheduling {
    /// How long after a join it may still cause one.
    pub window: TimeDelta,
    /// Told when one is queued.
    pub wake: Arc<Notify>,
}

impl RestoreScheduling {
    /// A join that is replayed days later causes none.
    fn still_for(&self, joined_at: Timestamp, now: Timestamp) -> bool {
        now <= joined_at.shifted(self.window)
    }
}

/// What became of an event, for the metric. All of them are answered 200.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Kept, or kept before.
    Kept,
    /// Nothing to keep: a failure, an unknown type, a test of the dashboard.
    Ignored,
    /// A peer without a `user_id`, or with ids that cannot be kept.
    NoUser,
    /// Presence kept, but not metadata that is too large or no text.
    MetadataRefused,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Ignored => "ignored",
            Self::NoUser => "no-user",
            Self::MetadataRefused => "metadata-refused",
        }
    }
}

/// Why an event was not taken.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// It is not one.
    #[error(transparent)]
    NotAnEvent(#[from] NotAnEvent),
    /// It could not be kept; 100ms tries again.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl WebhookReceiver {
    /// Keeps in this store. A leave for one of `drop_reasons` is a drop.
    pub fn new(
        store: Store,
        clock: Clock,
        limits: StoragePolicy,
        drop_reasons: BTreeSet<String>,
    ) -> Self {
        Self {
            store,
            clock,
            limits,
            drop_reasons,
            restores: None,
        }
    }

    /// The same, where joins of empty peers cause restores.
    #[must_use]
    pub fn restoring(self, restores: Option<RestoreScheduling>) -> Self {
        Self { restores, ..self }
    }

    /// Keeps what an event tells. When this returns, it is durable. Any event may be taken again, at any time.
    ///
    /// # Errors
    /// [`WebhookError`].
    pub async fn take(&self, body: &[u8]) -> Result<Outcome, WebhookError> {
        let now = self.clock.now();
        let (kind, event) = event::read(body, now, &self.drop_reasons)?;
        let outcome = match event {
            Event::Peer(peer) => self.take_peer(*peer, now).await?,
            Event::SessionEnd {
                room_id,
                session_id,
                at,
            } => {
                self.store
                    .end_session(&room_id, session_id.as_ref(), at)
                    .await?;
                Outcome::Kept
            }
            Event::WithoutUser => Outcome::NoUser,
            Event::Other => Outcome::Ignored,
        };
        metrics::counter!(WEBHOOKS, "type" => kind, "outcome" => outcome.as_str()).increment(1);
        Ok(outcome)
    }

    async fn take_peer(&self, event: PeerEvent, now: Timestamp) -> Result<Outcome, StoreError> {
        let Ok(key) =
            PeerKey::new(event.user_id, event.room_id, event.peer_id) as Result<_, KeyTooLarge>
        else {
            return Ok(Outcome::NoUser);
        };
        let (metadata, refused) = match event.user_data.as_deref().map(|data| self.metadata(data)) {
            None => (None, false),
            Some(None) => (None, true),
            Some(told) => (told, false),
        };
        let empty = !refused && metadata.as_ref().is_none_or(Metadata::is_empty);
        let restores = self
            .restores
            .as_ref()
            .filter(|restores| event.is_join && empty && restores.still_for(event.at, now));
        let presence = Presence {
            connected_since: Some(event.joined_at.unwrap_or(event.at)),
            session_id: event.session_id,
            ended: event.ended,
        };
        let report = EventReport {
            key,
            at: event.at,
            metadata,
            name: event.name.filter(|_| self.limits.store_names),
            role: event.role,
            joined_at: event.joined_at,
            presence,
            restore_requested_at: restores.map(|_| now),
        };
        self.store.report(report.into()).await?;
        if let Some(restores) = restores {
            restores.wake.notify_one();
        }
        Ok(if refused {
            Outcome::MetadataRefused
        } else {
            Outcome::Kept
        })
    }

    /// The metadata that is told, or none where it cannot be kept.
    fn metadata(&self, data: &RawValue) -> Option<Metadata> {
        Metadata::from_wire(data)
            .ok()
            .filter(|metadata| metadata.len() <= self.limits.max_metadata_bytes)
    }
}
