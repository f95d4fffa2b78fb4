//! Webhooks of 100ms: what each event tells, and keeping it.
//!
//! Nobody signs them, they come at least once or not at all, late, twice and in any order. So an event is only ever one
//! more report: a sight of a peer at the event's own time, and what it says of presence. Facts: 100ms's webhook pages.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::TimeDelta;
use tokio::sync::Notify;

use crate::domain::{
    Clock, End, EndKind, EventReport, KeyTooLarge, Label, Metadata, NotRepresentable, PeerKey,
    Presence, Timestamp,
};
use crate::hms::webhook::{self, NotAnEvent, PeerEvent, PeerEventKind, WebhookEvent};
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
        let (event_type, event) = webhook::parse(body, now)?;
        let outcome = match event {
            WebhookEvent::Peer(peer) => self.take_peer(*peer, now).await?,
            WebhookEvent::SessionEnded {
                room_id,
                session_id,
                at,
            } => {
                self.store
                    .end_session(&room_id, session_id.as_ref(), at)
                    .await?;
                Outcome::Kept
            }
            WebhookEvent::WithoutUser => Outcome::NoUser,
            WebhookEvent::Ignored => Outcome::Ignored,
        };
        metrics::counter!(WEBHOOKS, "type" => event_type.as_str(), "outcome" => outcome.as_str())
            .increment(1);
        Ok(outcome)
    }

    async fn take_peer(&self, event: PeerEvent, now: Timestamp) -> Result<Outcome, StoreError> {
        let Ok(key) =
            PeerKey::new(event.user_id, event.room_id, event.peer_id) as Result<_, KeyTooLarge>
        else {
            return Ok(Outcome::NoUser);
        };
        let (metadata, refused) = match event.metadata.map(|metadata| self.bounded(metadata)) {
            None => (None, false),
            Some(None) => (None, true),
            Some(told) => (told, false),
        };
        let is_join = event.kind == PeerEventKind::Joined;
        let ended = match event.kind {
            PeerEventKind::Left { reason } => Some(end(event.at, reason, &self.drop_reasons)),
            PeerEventKind::Joined | PeerEventKind::RoleChanged => None,
        };
        let empty = !refused && metadata.as_ref().is_none_or(Metadata::is_empty);
        let restores = self
            .restores
            .as_ref()
            .filter(|restores| is_join && empty && restores.still_for(event.at, now));
        let presence = Presence {
            connected_since: Some(event.joined_at.unwrap_or(event.at)),
            session_id: event.session_id,
            ended,
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

    /// The metadata, or none where it cannot be stored.
    fn bounded(&self, metadata: Result<Metadata, NotRepresentable>) -> Option<Metadata> {
        metadata
            .ok()
            .filter(|metadata| metadata.len() <= self.limits.max_metadata_bytes)
    }
}

/// How the peer of a leave ended.
fn end(at: Timestamp, reason: Option<Label>, drop_reasons: &BTreeSet<String>) -> End {
    let kind = match reason.as_ref().map(Label::as_str) {
        Some(reason) if drop_reasons.contains(reason) => EndKind::Dropped,
        Some("peer kicked") => EndKind::Kicked,
        _ => EndKind::Left,
    };
    End { at, kind, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hms::webhook::DROP_REASONS;

    #[test]
    fn the_reason_of_a_leave_says_how_the_peer_ended() {
        let drop_reasons = DROP_REASONS.map(ToOwned::to_owned).into();
        let at = Timestamp::parse("2026-03-01T10:06:12Z").unwrap();
        for (reason, kind) in [
            (Some("websocket closed"), EndKind::Dropped),
            (Some("server removed peer"), EndKind::Dropped),
            (Some("client request"), EndKind::Left),
            (Some("peer kicked"), EndKind::Kicked),
            (Some("something new"), EndKind::Left),
            (None, EndKind::Left),
        ] {
            let reason = reason.map(Label::new);
            let expected = End {
                at,
                kind,
                reason: reason.clone(),
            };
            assert_eq!(end(at, reason, &drop_reasons), expected);
        }
    }
}
