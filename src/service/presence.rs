//! Presence that no webhook corrects: a peer that counts as connected, and that nobody has seen for
//! a while, is looked for in its session at 100ms.

use std::collections::VecDeque;
use std::time::Duration;

use super::metrics::{PRESENCE_CHECKS, PresenceCheck};
use super::{Service, SnapshotError};
use crate::domain::RoomId;
use crate::hms::{Attendance, Fetched, HmsError, Session};
use crate::store::{Duty, Store, StoreError, Unseen, UnseenRooms, UnseenSession};

/// How long a replica may take for one round.
const LEASE: Duration = Duration::from_mins(10);

/// The sessions with such peers, read page by page.
pub(super) struct UnseenSessions<'a> {
    store: &'a Store,
    unseen: Unseen,
    page: VecDeque<UnseenSession>,
    last: Option<UnseenSession>,
}

impl UnseenSessions<'_> {
    /// The next session; none after the last.
    ///
    /// # Errors
    /// [`StoreError`]. Then the same one may be asked for again.
    pub(super) async fn next(&mut self) -> Result<Option<UnseenSession>, StoreError> {
        if self.page.is_empty() {
            let page = self
                .store
                .unseen_sessions(self.unseen.clone(), self.last.clone());
            self.page = page.await?.into();
        }
        let next = self.page.pop_front();
        self.last = next.clone().or(self.last.take());
        Ok(next)
    }
}

impl Service {
    /// The sessions with peers that count as connected, and that nobody has seen for a while.
    pub(super) fn unseen_sessions(&self, unseen: Unseen) -> UnseenSessions<'_> {
        UnseenSessions {
            store: &self.store,
            unseen,
            page: VecDeque::new(),
            last: None,
        }
    }

    /// Corrects the presence of peers in watched rooms that nobody has seen for `timeout`, unless
    /// another replica does or just did. Returns how many have ended with that.
    ///
    /// # Errors
    /// [`SnapshotError`]; what was corrected until then stays so.
    pub(super) async fn check_presence(&self, timeout: Duration) -> Result<u64, SnapshotError> {
        if !self
            .store
            .take_duty(Duty::Presence, timeout / 10, LEASE)
            .await?
        {
            return Ok(0);
        }
        let rooms = if self.watches.every().is_some() {
            // All that are in use are watched.
            UnseenRooms::All
        } else {
            UnseenRooms::Watched
        };
        let corrected = self.correct_unseen(rooms, timeout).await;
        self.store.finish_duty(Duty::Presence).await?;
        corrected
    }

    /// Corrects the presence of all peers of a room that is not active any more.
    ///
    /// # Errors
    /// [`SnapshotError`]; what was corrected until then stays so.
    pub(super) async fn check_presence_in(&self, room_id: &RoomId) -> Result<u64, SnapshotError> {
        let rooms = UnseenRooms::Only(room_id.clone());
        self.correct_unseen(rooms, Duration::ZERO).await
    }

    async fn correct_unseen(
        &self,
        rooms: UnseenRooms,
        unseen_for: Duration,
    ) -> Result<u64, SnapshotError> {
        let (mut corrected, mut failure) = (0, None);
        let mut sessions = self.unseen_sessions(Unseen { unseen_for, rooms });
        while let Some(session) = sessions.next().await? {
            match self.correct_presence(&session, unseen_for).await {
                Ok(count) => corrected += count,
                // It may be that of this session alone.
                Err(
                    error @ SnapshotError::Upstream(
                        HmsError::Timeout(_) | HmsError::Unavailable(_) | HmsError::BadResponse(_),
                    ),
                ) => failure = Some(error),
                Err(error) => return Err(error),
            }
        }
        failure.map_or(Ok(corrected), Err)
    }

    /// Asks 100ms for a session, and corrects the presence of its peers that nobody has seen for that
    /// long. Returns how many have ended with that.
    ///
    /// # Errors
    /// [`SnapshotError`]; what was corrected until then stays so.
    pub(super) async fn correct_presence(
        &self,
        session: &UnseenSession,
        unseen_for: Duration,
    ) -> Result<u64, SnapshotError> {
        let Fetched { sent_at, value } = self.hms.session(&session.session_id).await?;
        let (mut corrected, mut last) = (0, None);
        loop {
            let page = self.store.unseen_peers(unseen_for, session.clone(), last);
            let peers = page.await?;
            let Some(last_of_page) = peers.last().cloned() else {
                return Ok(corrected);
            };
            last = Some(last_of_page);
            let mut checked = Vec::with_capacity(peers.len());
            for peer in peers {
                let attendance = value
                    .as_ref()
                    .map_or(Attendance::Unknown, |session: &Session| {
                        session.attendance(&peer.peer_id)
                    });
                let (departed_at, check) = match attendance {
                    Attendance::Left(at) => (Some(at), PresenceCheck::Corrected),
                    Attendance::Over => (Some(sent_at), PresenceCheck::Corrected),
                    Attendance::Present => (None, PresenceCheck::Connected),
                    Attendance::Unknown => (None, PresenceCheck::Unknown),
                };
                PRESENCE_CHECKS.count(&check);
                checked.push((peer, departed_at));
            }
            let settled = self
                .store
                .settle_unseen_peers(session.room_id.clone(), checked);
            corrected += settled.await?;
        }
    }
}
