//! One look at a room: all of its peers are fetched and saved. And one fetch of single peers.

use crate::domain::{FetchJob, LookOutcome, ProblemCode, RoomId};
use crate::hms::HmsError;
use crate::service::{Service, SnapshotError};
use crate::store::{LookResult, StoreError};

impl Service {
    /// Looks at a room.
    ///
    /// # Errors
    /// [`SnapshotError`]; what was read until then is saved.
    pub(in crate::service) async fn look_at(
        &self,
        room_id: &RoomId,
    ) -> Result<LookResult, SnapshotError> {
        let mut fetched = self.fetch_room(room_id, None, None).await?;
        let mut result = LookResult {
            outcome: LookOutcome::OK,
            peers: 0,
            changes: 0,
        };
        while let Some(part) = fetched.save_next().await? {
            let changes = part.saved.iter().filter(|saved| saved.changed);
            result.changes += count(changes.count());
            result.peers += count(part.saved.len());
        }
        Ok(result)
    }

    /// Fetches what a job names, and saves it.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub(super) async fn fetch(&self, job: &FetchJob) -> Result<(), SnapshotError> {
        if let Some(peer_id) = &job.peer_id {
            self.snapshot_peer(&job.room_id, peer_id).await?;
        } else {
            let of_user = Some(&job.user_id);
            self.snapshot_room(&job.room_id, of_user, None, |_, _| {})
                .await?;
        }
        Ok(())
    }
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The problem of a look or a fetch.
pub(in crate::service) fn problem(error: &SnapshotError) -> ProblemCode {
    match error {
        SnapshotError::Upstream(error) => error.code(),
        SnapshotError::Unstorable(unstorable) => unstorable.code(),
        SnapshotError::Store(StoreError::Unavailable(_)) => ProblemCode::DatabaseUnavailable,
        SnapshotError::Store(StoreError::Overloaded { .. }) => ProblemCode::Overloaded,
        SnapshotError::Store(StoreError::Refused(_)) => ProblemCode::Internal,
    }
}

/// Whether another attempt at a fetch may come to something else.
pub(super) fn is_worth_another(error: &SnapshotError) -> bool {
    match error {
        SnapshotError::Upstream(HmsError::RoomNotActive | HmsError::PeerNotFound)
        | SnapshotError::Unstorable(_)
        | SnapshotError::Store(StoreError::Refused(_)) => false,
        SnapshotError::Upstream(_) | SnapshotError::Store(_) => true,
    }
}
