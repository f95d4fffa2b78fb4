//! Peers that count as connected and that nobody has seen for a while: which there are, and when
//! they left as their sessions at 100ms say it. All times but those of 100ms are Postgres's.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection, query_file, query_file_scalar};

use super::connections::Statement;
use super::restore_jobs::wake_restore_jobs;
use super::{Store, StoreError, rows};
use crate::domain::{PeerId, RoomId, SessionId, Timestamp, UserId};

/// How many sessions are read at once.
const MAX_SESSIONS: i64 = 100;
/// How many peers are read, and settled, at once.
const MAX_PEERS: i64 = 500;

/// Which peers to look for.
#[derive(Debug, Clone)]
pub struct Unseen {
    /// For how long nobody has seen them.
    pub unseen_for: Duration,
    /// In which rooms.
    pub rooms: UnseenRooms,
}

/// In which rooms to look for peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnseenRooms {
    /// In all.
    All,
    /// In those that are watched.
    Watched,
    /// In this one.
    Only(RoomId),
}

/// A session with peers to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnseenSession {
    /// Its room.
    pub room_id: RoomId,
    /// Its id, which is that of a webhook.
    pub session_id: SessionId,
}

/// A peer to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnseenPeer {
    /// Its user.
    pub user_id: UserId,
    /// Its id.
    pub peer_id: PeerId,
}

impl Store {
    /// Some of the sessions with such peers, by room and id: those after this one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn unseen_sessions(
        &self,
        unseen: Unseen,
        after: Option<UnseenSession>,
    ) -> Result<Vec<UnseenSession>, StoreError> {
        let unseen_sessions = UnseenSessions { unseen, after };
        self.background.execute(unseen_sessions).await
    }

    /// Some of such peers of a session: those after this one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn unseen_peers(
        &self,
        unseen_for: Duration,
        session: UnseenSession,
        after: Option<UnseenPeer>,
    ) -> Result<Vec<UnseenPeer>, StoreError> {
        let unseen_peers = UnseenPeers {
            unseen_for,
            session,
            after,
        };
        self.background.execute(unseen_peers).await
    }

    /// Notes when these peers of a room left, as far as 100ms knows. Returns how many ended with that.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn settle_unseen_peers(
        &self,
        room_id: RoomId,
        peers: Vec<(UnseenPeer, Option<Timestamp>)>,
    ) -> Result<u64, StoreError> {
        let settle = SettleUnseenPeers { room_id, peers };
        self.background.execute(settle).await
    }
}

struct UnseenSessions {
    unseen: Unseen,
    after: Option<UnseenSession>,
}

impl Statement for UnseenSessions {
    type Output = Vec<UnseenSession>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Vec<UnseenSession>, sqlx::Error> {
        let Unseen { unseen_for, rooms } = &self.unseen;
        let only = match rooms {
            UnseenRooms::Only(room_id) => Some(room_id.as_str()),
            UnseenRooms::All | UnseenRooms::Watched => None,
        };
        let after = self.after.as_ref();
        let mut after = (
            after.map_or("", |after| after.room_id.as_str()).to_owned(),
            after
                .map_or("", |after| after.session_id.as_str())
                .to_owned(),
        );
        loop {
            let session_rows = query_file!(
                "src/store/queries/unseen_sessions.sql",
                unseen_for.as_secs_f64(),
                *rooms == UnseenRooms::Watched,
                only,
                after.0,
                after.1,
                MAX_SESSIONS
            )
            .fetch_all(&mut *connection)
            .await?;
            // A webhook may say any text; what is no id cannot be asked for.
            let sessions = session_rows.iter().filter_map(|row| {
                Some(UnseenSession {
                    room_id: RoomId::parse(&row.room_id).ok()?,
                    session_id: SessionId::parse(&row.session_id).ok()?,
                })
            });
            let sessions: Vec<UnseenSession> = sessions.collect();
            match session_rows.into_iter().last() {
                Some(last) if sessions.is_empty() => after = (last.room_id, last.session_id),
                _ => return Ok(sessions),
            }
        }
    }
}

struct UnseenPeers {
    unseen_for: Duration,
    session: UnseenSession,
    after: Option<UnseenPeer>,
}

impl Statement for UnseenPeers {
    type Output = Vec<UnseenPeer>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Vec<UnseenPeer>, sqlx::Error> {
        let after = self.after.as_ref();
        let peer_rows = query_file!(
            "src/store/queries/unseen_peers.sql",
            self.unseen_for.as_secs_f64(),
            self.session.room_id.as_str(),
            self.session.session_id.as_str(),
            after.map_or("", |after| after.user_id.as_str()),
            after.map_or("", |after| after.peer_id.as_str()),
            MAX_PEERS
        )
        .fetch_all(connection)
        .await?;
        let peers = peer_rows.into_iter().map(|row| {
            Ok(UnseenPeer {
                user_id: UserId::parse(&row.user_id).map_err(rows::corrupt)?,
                peer_id: PeerId::parse(&row.peer_id).map_err(rows::corrupt)?,
            })
        });
        Ok(peers
            .filter_map(|peer| rows::readable(peer, "peers"))
            .collect())
    }
}

struct SettleUnseenPeers {
    room_id: RoomId,
    peers: Vec<(UnseenPeer, Option<Timestamp>)>,
}

impl Statement for SettleUnseenPeers {
    type Output = u64;

    async fn run(&self, connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
        let peers = || self.peers.iter().map(|(peer, _)| peer);
        let user_ids: Vec<&str> = peers().map(|peer| peer.user_id.as_str()).collect();
        let peer_ids: Vec<&str> = peers().map(|peer| peer.peer_id.as_str()).collect();
        let departed_at: Vec<Option<DateTime<Utc>>> = self
            .peers
            .iter()
            .map(|(_, at)| at.map(Timestamp::to_utc))
            .collect();
        let mut transaction = connection.begin().await?;
        let departed = query_file_scalar!(
            "src/store/queries/settle_unseen_peers.sql",
            self.room_id.as_str(),
            &user_ids as &[&str],
            &peer_ids as &[&str],
            &departed_at as &[Option<DateTime<Utc>>]
        )
        .fetch_all(&mut *transaction)
        .await?;
        // As a leave does: some restores wait for the end of the old peer.
        let users: Vec<&str> = departed.iter().map(String::as_str).collect();
        wake_restore_jobs(&mut transaction, &users).await?;
        transaction.commit().await?;
        Ok(u64::try_from(departed.len()).unwrap_or(u64::MAX))
    }

    async fn run_distributed(&self, connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
        let mut departed: Vec<&str> = Vec::new();
        for (peer, at) in &self.peers {
            let has_departed = query_file_scalar!(
                "src/store/queries/one_user/settle_unseen_peer.sql",
                peer.user_id.as_str(),
                self.room_id.as_str(),
                peer.peer_id.as_str(),
                at.map(Timestamp::to_utc)
            )
            .fetch_optional(&mut *connection)
            .await?;
            if has_departed == Some(true) {
                departed.push(peer.user_id.as_str());
            }
        }
        wake_restore_jobs(connection, &departed).await?;
        Ok(u64::try_from(departed.len()).unwrap_or(u64::MAX))
    }
}
