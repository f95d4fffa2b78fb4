//! Presence: as rows of a resume say it, and the ends of sessions that webhooks report.
//!
//! An end of a session is one row. What is read counts it for every peer that it covers. In the
//! background these peers are marked, so that they need not be read any more to know who is
//! connected.

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection, query_file};

use super::connections::Statement;
use super::forwards::queue_forwards;
use super::{Store, StoreError, rows};
use crate::domain::{
    ConnectedPeer, Label, NewForward, PeerId, Presence, RoomId, Timestamp, UserPresence,
};

/// How many peers are marked in one statement, which locks them.
const MAX_PEERS: i64 = 500;
/// How many ends of sessions are checked in one statement.
const MAX_SESSION_ENDS: i64 = 100;

/// The columns of a resume that describe presence; all null where none is read.
pub(super) struct PresenceRow {
    pub(super) connected_since: Option<DateTime<Utc>>,
    pub(super) ended_at: Option<DateTime<Utc>>,
    pub(super) end_kind: Option<String>,
    pub(super) end_reason: Option<String>,
    pub(super) departed_at: Option<DateTime<Utc>>,
    pub(super) session_ended_at: Option<DateTime<Utc>>,
    pub(super) live: Option<Vec<LivePeer>>,
}

/// The room, the id and the time of the join of a connected peer.
pub(super) type LivePeer = (String, String, Option<DateTime<Utc>>);

impl PresenceRow {
    pub(super) fn into_presence(self) -> Result<UserPresence, sqlx::Error> {
        let presence = Presence {
            connected_since: self.connected_since.map(Into::into),
            session_id: None,
            ended: rows::end(self.ended_at, self.end_kind.as_deref(), self.end_reason)?,
        };
        let connected_peers = self
            .live
            .unwrap_or_default()
            .into_iter()
            .map(|(room_id, peer_id, joined_at)| {
                Ok(ConnectedPeer {
                    peer_id: PeerId::parse(&peer_id).map_err(rows::corrupt)?,
                    room_id: RoomId::parse(&room_id).map_err(rows::corrupt)?,
                    joined_at: joined_at.map(Into::into),
                })
            })
            .collect::<Result<_, sqlx::Error>>()?;
        Ok(UserPresence {
            peer: presence.status(
                self.departed_at.map(Into::into),
                self.session_ended_at.map(Into::into),
            ),
            connected_peers,
        })
    }
}

impl Store {
    /// Saves the end of a session, or of a room, for all of its peers that do not join later, and
    /// with it the event to pass on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn end_session(
        &self,
        room_id: &RoomId,
        session_id: Option<&Label>,
        at: Timestamp,
        forward: Option<NewForward>,
    ) -> Result<(), StoreError> {
        let end_session = EndSession {
            room_id: room_id.clone(),
            session_id: session_id.cloned(),
            at,
            forward,
        };
        self.session_ends.execute(end_session).await?;
        self.session_ended.notify_one();
        Ok(())
    }

    /// Completes when a session has ended through this replica since the last call.
    pub async fn session_ended(&self) {
        self.session_ended.notified().await;
    }

    /// Marks the peers that ended with their session, and returns how many there were.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn end_peers(&self) -> Result<u64, StoreError> {
        let mut ended = 0;
        loop {
            let (peers, session_ends) = self.background.execute(EndPeers).await?;
            ended += peers.unsigned_abs();
            if peers < MAX_PEERS && session_ends < MAX_SESSION_ENDS {
                return Ok(ended);
            }
        }
    }
}

/// Saves the end of a session, or of whichever session the room had, and makes the restore jobs due
/// that wait in the room. The latest reported end counts.
struct EndSession {
    room_id: RoomId,
    session_id: Option<Label>,
    at: Timestamp,
    forward: Option<NewForward>,
}

impl Statement for EndSession {
    type Output = ();

    async fn run(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let Some(forward) = &self.forward else {
            return self.end(connection).await;
        };
        let mut transaction = connection.begin().await?;
        self.end(&mut transaction).await?;
        queue_forwards(&mut transaction, &[forward]).await?;
        transaction.commit().await
    }
}

impl EndSession {
    async fn end(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        query_file!(
            "src/store/queries/end_session.sql",
            self.room_id.as_str(),
            self.session_id.as_ref().map_or("", Label::as_str),
            self.at.to_utc()
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// Marks some of the peers that ended with their session.
struct EndPeers;

impl Statement for EndPeers {
    /// How many peers were marked, and how many ends of sessions were checked.
    type Output = (i64, i64);

    async fn run(&self, connection: &mut PgConnection) -> Result<(i64, i64), sqlx::Error> {
        let counts = query_file!(
            "src/store/queries/end_peers.sql",
            MAX_PEERS,
            MAX_SESSION_ENDS
        )
        .fetch_one(connection)
        .await?;
        Ok((counts.peers, counts.session_ends))
    }
}
