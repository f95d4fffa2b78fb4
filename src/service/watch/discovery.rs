//! Discovery: the list of active sessions names rooms that no webhook reported, or whose webhook was
//! lost. So watches work without webhooks too.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::domain::{RoomId, Timestamp, WatchInterval};
use crate::hms::{Client, Fetched, HmsError};
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

/// The list of active sessions, read page by page.
pub(in crate::service) struct ActiveRooms<'a> {
    hms: &'a Client,
    start: Option<String>,
    /// What the pages so far named as their last.
    seen: HashSet<String>,
    is_over: bool,
}

/// A page of the rooms that have a session.
pub(in crate::service) struct RoomPage {
    /// When 100ms was asked.
    pub(in crate::service) sent_at: Timestamp,
    pub(in crate::service) room_ids: Vec<RoomId>,
}

impl ActiveRooms<'_> {
    /// The next page; none after the last. After a failure, the same page may be asked for again.
    pub(in crate::service) async fn next_page(&mut self) -> Result<Option<RoomPage>, HmsError> {
        if self.is_over {
            return Ok(None);
        }
        let start = self.start.as_deref();
        let Fetched { sent_at, value } = self.hms.active_sessions(start).await?;
        if self.seen.len() == MAX_PAGES {
            tracing::warn!("the list of active sessions did not end; its first pages count");
            self.is_over = true;
        }
        match value.last {
            Some(last) if !value.is_empty && self.seen.insert(last.clone()) => {
                self.start = Some(last);
            }
            _ => self.is_over = true,
        }
        let rooms = value.sessions.into_iter().map(|session| session.room_id);
        let room_ids = rooms.collect();
        Ok(Some(RoomPage { sent_at, room_ids }))
    }
}

impl Service {
    /// The rooms that have a session now, as 100ms lists them.
    pub(in crate::service) fn active_rooms(&self) -> ActiveRooms<'_> {
        ActiveRooms {
            hms: &self.hms,
            start: None,
            seen: HashSet::new(),
            is_over: false,
        }
    }

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
        let deadline = Instant::now() + LEASE;
        let (mut begun, mut rooms) = (0, self.active_rooms());
        loop {
            match rooms.next_page().await {
                Ok(Some(RoomPage { sent_at, room_ids })) => {
                    begun += self.store.start_watches(room_ids, every, sent_at).await?;
                }
                Ok(None) => break,
                // Where the wait is longer, any replica begins anew after it.
                Err(HmsError::RateLimited { retry_after })
                    if Instant::now() + retry_after < deadline =>
                {
                    sleep(retry_after).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.store.finish_duty(Duty::Sessions).await?;
        Ok(Some(begun))
    }
}
