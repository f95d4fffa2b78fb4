//! Webhooks of 100ms: what each event tells, and keeping it.
//!
//! Nobody signs them, they come at least once or not at all, late, twice and in any order. So an event is only ever one
//! more report: a sight of a peer at the event's own time, and what it says of presence. Facts: 100ms's webhook pages.

mod event;

use std::collections::BTreeSet;

use serde_json::value::RawValue;

use crate::domain::{Clock, KeyTooLarge, Metadata, Observation, PeerKey, Presence, Report, Source};
use crate::service::Limits;
use crate::store::{Store, StoreError};
pub use event::NotAnEvent;
use event::{Event, PeerEvent};

/// Why 100ms says it lost a connection.
pub const DROP_REASONS: [&str; 3] = ["websocket closed", "ice connection state closed", "server removed peer"];

/// Keeps what webhooks tell.
#[derive(Clone)]
pub struct Webhooks {
    store: Store,
    clock: Clock,
    limits: Limits,
    drop_reasons: BTreeSet<String>,
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

impl Webhooks {
    /// Keeps in this store. A leave for one of `drop_reasons` is a drop.
    pub fn new(store: Store, clock: Clock, limits: Limits, drop_reasons: BTreeSet<String>) -> Self {
        Self { store, clock, limits, drop_reasons }
    }

    /// Keeps what an event tells. When this returns, it is durable. Any event may be taken again, at any time.
    ///
    /// # Errors
    /// [`WebhookError`].
    pub async fn take(&self, body: &[u8]) -> Result<Outcome, WebhookError> {
        let (kind, event) = event::read(body, self.clock.now(), &self.drop_reasons)?;
        let outcome = match event {
            Event::Peer(peer) => self.take_peer(*peer).await?,
            Event::SessionEnd { room_id, session_id, at } => {
                self.store.end_session(&room_id, session_id.as_ref(), at).await?;
                Outcome::Kept
            }
            Event::WithoutUser => Outcome::NoUser,
            Event::Other => Outcome::Ignored,
        };
        metrics::counter!("rejoin_webhooks_total", "type" => kind, "outcome" => outcome.as_str()).increment(1);
        Ok(outcome)
    }

    async fn take_peer(&self, event: PeerEvent) -> Result<Outcome, StoreError> {
        let Ok(key) = PeerKey::new(event.user_id, event.room_id, event.peer_id) as Result<_, KeyTooLarge> else {
            return Ok(Outcome::NoUser);
        };
        let (metadata, refused) = match event.user_data.as_deref().map(|data| self.metadata(data)) {
            None => (None, false),
            Some(None) => (None, true),
            Some(told) => (told, false),
        };
        let report = Report {
            only_if_unknown: metadata.is_none(),
            observation: Observation {
                key,
                observed_at: event.at,
                source: Source::Webhook,
                metadata: metadata.unwrap_or_default(),
                name: event.name.filter(|_| self.limits.store_names),
                role: event.role,
                tracks: None,
                joined_at: event.joined_at,
            },
            presence: Presence {
                connected_since: Some(event.joined_at.unwrap_or(event.at)),
                session_id: event.session_id,
                ended: event.ended,
            },
        };
        self.store.report(report).await?;
        Ok(if refused { Outcome::MetadataRefused } else { Outcome::Kept })
    }

    /// The metadata that is told, or none where it cannot be kept.
    fn metadata(&self, data: &RawValue) -> Option<Metadata> {
        Metadata::from_wire(data).ok().filter(|metadata| metadata.len() <= self.limits.max_metadata_bytes)
    }
}
