//! Forwards: every authentic event is passed on to another endpoint, as it came.
//!
//! An event is queued in the transaction that saves it, so that its 200 promises both; the worker of
//! any replica sends it later. So an endpoint that is slow or down slows nothing.

mod worker;

use std::sync::Arc;

use ::http::{HeaderMap, HeaderName};
use bytes::Bytes;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::domain::{NewForward, RoomId, UserId};
use crate::forward::passed_on;

pub use worker::ForwardWorker;

/// How events are queued for the worker of this replica. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ForwardScheduling {
    /// The header that carries our secret.
    secret_header: HeaderName,
    wake: Arc<Notify>,
}

impl ForwardScheduling {
    /// The header with the secret of webhooks is not passed on.
    pub fn new(secret_header: HeaderName) -> Self {
        Self {
            secret_header,
            wake: Arc::default(),
        }
    }

    /// An event to queue.
    pub(super) fn forward(
        &self,
        headers: &HeaderMap,
        body: Bytes,
        room_id: Option<RoomId>,
        user_id: Option<UserId>,
    ) -> NewForward {
        NewForward {
            id: Uuid::new_v4(),
            room_id,
            user_id,
            headers: passed_on(headers, &self.secret_header),
            body,
        }
    }

    /// An event is queued.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Completes when an event was queued since the last call.
    async fn queued(&self) {
        self.wake.notified().await;
    }
}
