//! Webhooks: the events that 100ms sends, stored.
//!
//! 100ms does not sign them. It delivers them at least once or not at all, delayed, repeated and in
//! any order. So an event is only ever one more report: an observation of a peer at the event's own
//! time, and what the event says of its presence. What an event looks like is up to `hms`.

use std::collections::BTreeSet;
use std::sync::Arc;

use ::http::HeaderMap;
use bytes::Bytes;
use chrono::TimeDelta;
use tokio::sync::Notify;

use super::forward::ForwardScheduling;
use super::metrics::{LEAVES, WEBHOOKS};
use super::watch::WatchScheduling;
use crate::domain::{
    Clock, End, EndKind, EventKind, EventReport, Metadata, NewForward, NotRepresentable, PeerKey,
    Presence, Rules, StoragePolicy, Timestamp, named,
};
use crate::hms::webhook::{self, NotAnEvent, PeerEvent, PeerEventKind, WebhookEvent};
use crate::store::{Store, StoreError};

/// How far the time of an event may be ahead of our clock. Beyond that, the event says something of
/// presence only: its metadata could not be ordered.
const MAX_CLOCK_SKEW: TimeDelta = TimeDelta::seconds(60);

/// Stores the events that 100ms sends.
#[derive(Clone)]
pub struct WebhookReceiver {
    /// Where events are stored.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// What is stored of a peer.
    pub storage_policy: StoragePolicy,
    /// The ordering rules.
    pub rules: Rules,
    /// The reasons for which a leave is a drop.
    pub drop_reasons: BTreeSet<String>,
    /// How joins schedule automatic restores, if they do.
    pub restores: Option<RestoreScheduling>,
    /// What events begin and ask of watches.
    pub watches: WatchScheduling,
    /// How events are passed on, if they are.
    pub forwards: Option<ForwardScheduling>,
}

/// How joins schedule automatic restores.
#[derive(Debug, Clone)]
pub struct RestoreScheduling {
    /// For how long after a join its event may schedule one. An event that is replayed days later
    /// schedules none.
    pub window: TimeDelta,
    /// Wakes the worker.
    pub wake: Arc<Notify>,
}

named! {
    /// What became of an event, for the metric. All of them are answered 200.
    pub enum WebhookOutcome {
        /// It is stored, now or already before.
        Stored = "kept",
        /// It has nothing to store: a failure, an unknown type, or a test of 100ms's dashboard.
        Ignored = "ignored",
        /// Its peer has no `user_id`, or ids that cannot be stored.
        NoUser = "no-user",
        /// Its presence is stored, but its metadata is too large, or no text.
        MetadataRejected = "metadata-refused",
    }
}

/// Why an event could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// It is no event.
    #[error(transparent)]
    NotAnEvent(#[from] NotAnEvent),
    /// The database failed; 100ms tries again.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The metadata of an event.
enum EventMetadata {
    /// The event does not mention it.
    Absent,
    /// It cannot be stored.
    Rejected,
    /// It can be stored.
    Storable(Metadata),
}

impl WebhookReceiver {
    /// Stores an event, and queues it where it is passed on. Both are durable when this returns.
    /// Every event may be received again, at any time.
    ///
    /// # Errors
    /// [`WebhookError`].
    pub async fn receive(
        &self,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<WebhookOutcome, WebhookError> {
        let now = self.clock.now();
        let (event_type, event) = webhook::parse(&body)?;
        let forward = self.forwards.as_ref().map(|forwards| {
            let room_id = event.room_id().cloned();
            let room_id = room_id.or_else(|| webhook::room_id(&body));
            forwards.forward(headers, body.clone(), room_id, event.user_id().cloned())
        });
        let outcome = self.store_event(event, forward, now).await?;
        if self.forwards.is_some() {
            self.store.wake_forwards();
        }
        WEBHOOKS.count(&(event_type, outcome));
        Ok(outcome)
    }

    async fn store_event(
        &self,
        event: WebhookEvent,
        forward: Option<NewForward>,
        now: Timestamp,
    ) -> Result<WebhookOutcome, StoreError> {
        match event {
            WebhookEvent::Peer(event) => self.store_peer_event(*event, forward, now).await,
            WebhookEvent::SessionEnded {
                room_id,
                session_id,
                at,
            } => {
                self.store
                    .end_session(&room_id, session_id.as_ref(), at, forward)
                    .await?;
                self.wake_restores();
                Ok(WebhookOutcome::Stored)
            }
            WebhookEvent::SessionOpened { room_id, at } => match self.watches.every() {
                Some(every) => {
                    self.store.start_watch(room_id, every, at, forward).await?;
                    Ok(WebhookOutcome::Stored)
                }
                None => self.only_pass_on(forward, WebhookOutcome::Ignored).await,
            },
            WebhookEvent::WithoutUser => self.only_pass_on(forward, WebhookOutcome::NoUser).await,
            WebhookEvent::Ignored => self.only_pass_on(forward, WebhookOutcome::Ignored).await,
        }
    }

    /// Queues an event that has nothing else to store.
    async fn only_pass_on(
        &self,
        forward: Option<NewForward>,
        outcome: WebhookOutcome,
    ) -> Result<WebhookOutcome, StoreError> {
        if let Some(forward) = forward {
            self.store.queue_forward(forward).await?;
        }
        Ok(outcome)
    }

    async fn store_peer_event(
        &self,
        event: PeerEvent,
        forward: Option<NewForward>,
        now: Timestamp,
    ) -> Result<WebhookOutcome, StoreError> {
        let presence = self.presence(&event);
        let Ok(key) = PeerKey::new(event.user_id, event.room_id, event.peer_id) else {
            return self.only_pass_on(forward, WebhookOutcome::NoUser).await;
        };
        let metadata = self.event_metadata(event.metadata);
        let restores = self.restores.as_ref().filter(|restores| {
            event.kind == PeerEventKind::Joined
                && metadata.is_empty(&self.rules)
                && now <= event.at.shifted(restores.window)
        });
        let (metadata, outcome) = match metadata {
            EventMetadata::Absent => (None, WebhookOutcome::Stored),
            EventMetadata::Rejected => (None, WebhookOutcome::MetadataRejected),
            EventMetadata::Storable(metadata) => (Some(metadata), WebhookOutcome::Stored),
        };
        // A time that cannot be right says nothing of what is newer.
        let metadata = metadata.filter(|_| event.at <= now.shifted(MAX_CLOCK_SKEW));
        let kind = match &event.kind {
            PeerEventKind::Joined => EventKind::Join,
            PeerEventKind::Left { .. } => EventKind::Leave,
            PeerEventKind::RoleChanged => EventKind::RoleChange,
        };
        let report = EventReport {
            key,
            kind,
            at: event.at,
            metadata,
            name: self.storage_policy.check_name(event.name),
            role: event.role,
            joined_at: event.joined_at,
            presence,
            restore_requested_at: restores.map(|_| now),
            watch: self.watches.request(kind, event.at, now),
            forward: forward.map(Box::new),
        };
        let asks_watches = report.watch.is_some();
        let ended = report.presence.ended.as_ref().map(|end| end.kind);
        self.store.report(report.into()).await?;
        if let Some(kind) = ended {
            LEAVES.count(&kind);
        }
        if asks_watches {
            self.watches.wake();
        }
        // A join queues a restore, and a leave makes those due that wait for it.
        if !matches!(event.kind, PeerEventKind::RoleChanged) {
            self.wake_restores();
        }
        Ok(outcome)
    }

    fn wake_restores(&self) {
        if let Some(restores) = &self.restores {
            restores.wake.notify_one();
        }
    }

    /// What the event says of the presence of its peer.
    fn presence(&self, event: &PeerEvent) -> Presence {
        let ended = match &event.kind {
            PeerEventKind::Left { reason } => Some(End {
                // The time of the envelope, which stands in for a missing one, has whole seconds.
                at: event
                    .joined_at
                    .map_or(event.at, |joined_at| joined_at.max(event.at)),
                kind: EndKind::of_leave(reason.as_ref(), &self.drop_reasons),
                reason: reason.clone(),
            }),
            PeerEventKind::Joined | PeerEventKind::RoleChanged => None,
        };
        Presence {
            connected_since: Some(event.joined_at.unwrap_or(event.at)),
            session_id: event.session_id.clone(),
            ended,
        }
    }

    fn event_metadata(
        &self,
        metadata: Option<Result<Metadata, NotRepresentable>>,
    ) -> EventMetadata {
        match metadata {
            None => EventMetadata::Absent,
            Some(Err(NotRepresentable)) => EventMetadata::Rejected,
            Some(Ok(metadata)) => match self.storage_policy.check_metadata(metadata) {
                Ok(metadata) => EventMetadata::Storable(metadata),
                Err(_) => EventMetadata::Rejected,
            },
        }
    }
}

impl EventMetadata {
    /// Whether the peer has no metadata, as far as the event says.
    fn is_empty(&self, rules: &Rules) -> bool {
        match self {
            Self::Absent => true,
            Self::Rejected => false,
            Self::Storable(metadata) => rules.is_empty(metadata),
        }
    }
}
