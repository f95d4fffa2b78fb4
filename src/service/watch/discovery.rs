//! Discovery: the list of active sessions names rooms that no webhook reported, or whose webhook was
//! lost. So watches work without webhooks too.

use std::collections::HashSet;
use std::time::Duration;

use crate::domain::WatchInterval;
use crate::hms::Fetched;
use crate::service::{Service, SnapshotError};
use crate::store::Duty;

/// How often one of the replicas reads the list.
pub(super) const DISCOVERY_INTERVAL: Duration = Duration::from_mins(2);
/// A replica that starts reads it at once, unless another just did.
pub(super) const AT_START: Duration = Duration::from_secs(10);
/// How long a replica may take.
const LEASE: Duration = Duration::from_mins(2);
/// How many pages are read at most. Nobody documents what ends the list.
const MAX_PAGES: usize = 1_000;

impl Service {
    /// Reads the list of active sessions, unless a replica did so less than `pause` ago, and begins
    /// the watches of rooms that have none. Returns how many; none where another replica does it.
    ///
    /// # Errors
    /// [`SnapshotError`]; the watches of the pages that were read have begun.
    pub(super) async fn discover(
        &self,
        every: WatchInterval,
        pause: Duration,
    ) -> Result<Option<u64>, SnapshotError> {
        if !self.store.take_duty(Duty::Sessions, pause, LEASE).await? {
            return Ok(None);
        }
        let begun = self.watch_active_rooms(every).await?;
        self.store.finish_duty(Duty::Sessions).await?;
        Ok(Some(begun))
    }

    async fn watch_active_rooms(&self, every: WatchInterval) -> Result<u64, SnapshotError> {
        let (mut begun, mut start, mut seen) = (0, None, HashSet::new());
        for _ in 0..MAX_PAGES {
            let Fetched { sent_at, value } = self.hms.active_sessions(start.as_deref()).await?;
            let rooms = value.sessions.into_iter().map(|session| session.room_id);
            let started = self.store.start_watches(rooms.collect(), every, sent_at);
            begun += started.await?;
            match value.last {
                Some(last) if !value.is_empty && seen.insert(last.clone()) => start = Some(last),
                _ => return Ok(begun),
            }
        }
        tracing::warn!("the list of active sessions did not end; its first pages are watched");
        Ok(begun)
    }
}
