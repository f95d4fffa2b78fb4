//! The steps: webhooks are sent again, active rooms are looked at, and presence is corrected.

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::patience::{Patience, Queue, patiently};
use super::progress::Progress;
use crate::domain::{ProblemCode, Reconciled, Reconciliation};
use crate::hms::HmsError;
use crate::service::{Service, SnapshotError};
use crate::store::{Unseen, UnseenRooms};

/// How long replays go ahead of the looks at rooms. Ten thousand events take a quarter of an hour, and
/// who is in a room now is not to wait for that.
const HEAD_START: Duration = Duration::from_mins(1);

/// What an attempt came to.
pub(super) struct Attempt {
    pub(super) reconciled: Reconciled,
    /// Whether another one may come to more.
    pub(super) is_worth_another: bool,
}

impl Service {
    /// Has 100ms send the webhooks of a gap again, looks at all active rooms, and corrects the presence
    /// of whom these looks did not see. What cannot be done is left out, and named.
    pub(super) async fn reconcile(&self, reconciliation: &Reconciliation) -> Attempt {
        let progress = Progress::new(&self.store, reconciliation);
        progress.store().await;
        let replays_ended = Notify::new();
        let replaying = async {
            let replayed = self.replay_all(&progress).await;
            replays_ended.notify_one();
            replayed
        };
        let looking = async {
            let _ = timeout(HEAD_START, replays_ended.notified()).await;
            self.look_around(&progress).await
        };
        let (replayed, looked) = tokio::join!(replaying, looking);
        let lacks_permission = replayed == Err(ProblemCode::UpstreamUnauthorized) && looked.is_ok();
        let problem = replayed.and(looked).err();
        Attempt {
            reconciled: Reconciled {
                problem,
                ..progress.reconciled()
            },
            is_worth_another: problem.is_some() && !lacks_permission,
        }
    }

    /// Looks at all active rooms, and corrects the presence of all peers that these looks did not see.
    async fn look_around(&self, progress: &Progress<'_>) -> Result<(), ProblemCode> {
        let looked_at = Instant::now();
        let looked = self.look_at_active_rooms(progress).await;
        let corrected = self.correct_all_presence(looked_at, progress).await;
        looked.and(corrected)
    }

    async fn look_at_active_rooms(&self, progress: &Progress<'_>) -> Result<(), ProblemCode> {
        let mut patience = Patience::new();
        let (mut pages, mut room_ids) = (self.active_rooms(), HashSet::new());
        while let Some(page) = patiently!(patience, pages.next_page())? {
            room_ids.extend(page.room_ids);
        }
        let mut queue = Queue::new(room_ids, patience);
        while let Some(room_id) = queue.next() {
            match self.look_at(&room_id).await {
                Ok(look) => {
                    queue.succeeded();
                    progress.note(|reconciled| {
                        reconciled.rooms += 1;
                        reconciled.peers += u64::from(look.peers);
                        reconciled.changes += u64::from(look.changes);
                    });
                    progress.store().await;
                }
                // Over by now.
                Err(SnapshotError::Upstream(HmsError::RoomNotActive)) => queue.succeeded(),
                Err(error) => queue.failed(room_id, error).await,
            }
        }
        queue.result()
    }

    /// Corrects the presence of all peers that count as connected, and that no look has seen since.
    async fn correct_all_presence(
        &self,
        since: Instant,
        progress: &Progress<'_>,
    ) -> Result<(), ProblemCode> {
        let mut patience = Patience::new();
        let mut unseen = self.unseen_sessions(Unseen {
            unseen_for: since.elapsed(),
            rooms: UnseenRooms::All,
        });
        let mut sessions = Vec::new();
        while let Some(session) = patiently!(patience, unseen.next())? {
            sessions.push(session);
        }
        let mut queue = Queue::new(sessions, patience);
        while let Some(session) = queue.next() {
            match self.correct_presence(&session, since.elapsed()).await {
                Ok(corrected) => {
                    queue.succeeded();
                    progress.note(|reconciled| reconciled.corrected += corrected);
                    progress.store().await;
                }
                Err(error) => queue.failed(session, error).await,
            }
        }
        queue.result()
    }
}
