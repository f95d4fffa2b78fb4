//! Forwards: every authentic event is passed on to another endpoint, as it came, and so are our own.
//!
//! An event is queued in the transaction that saves it, so that its 200 promises both, and our own by
//! the store in the transaction that stores what they say. The worker of any replica sends them later.
//! So an endpoint that is slow or down slows nothing.

mod worker;

use ::http::{HeaderMap, HeaderName};
use bytes::Bytes;
use uuid::Uuid;

use super::Service;
use crate::domain::{ForwardRecord, ForwardState, NewForward, RoomId, UserId};
use crate::forward::passed_on;
use crate::store::StoreError;

pub use worker::ForwardWorker;

/// How events are queued to be passed on. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ForwardScheduling {
    /// The header that carries our secret.
    secret_header: HeaderName,
}

impl Service {
    /// A page of the events that were not passed on yet: those after a position.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forwards(
        &self,
        after: i64,
        state: Option<ForwardState>,
        limit: u16,
    ) -> Result<Vec<ForwardRecord>, StoreError> {
        self.store.forwards(after, state, limit).await
    }

    /// Has an event sent again; none where there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn retry_forward(&self, id: Uuid) -> Result<Option<ForwardRecord>, StoreError> {
        self.store.retry_forward(id).await
    }

    /// Has all dead events sent again, and returns how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn retry_dead_forwards(&self) -> Result<u64, StoreError> {
        self.store.retry_dead_forwards().await
    }
}

impl ForwardScheduling {
    /// The header with the secret of webhooks is not passed on.
    pub fn new(secret_header: HeaderName) -> Self {
        Self { secret_header }
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
}
