//! Presence: as rows of a resume say it, and the ends of sessions that webhooks report.
//!
//! An end of a session is one row. What is read counts it for every peer that it covers. In the
//! background these peers are marked, so that they need not be read any more to know who is
//! connected.

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection, query_file, query_file_as};

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

    async fn run_distributed(
        &self,
        connection: &mut PgConnection,
    ) -> Result<(i64, i64), sqlx::Error> {
        let due = query_file_as!(
            DueSessionEnd,
            "src/store/queries/every_node/due_session_ends.sql",
            MAX_SESSION_ENDS
        )
        .fetch_all(&mut *connection)
        .await?;
        let (mut peers, mut session_ends) = (0, 0);
        for session_end in due {
            peers += session_end
                .mark_peers(connection, MAX_PEERS - peers)
                .await?;
            session_ends += 1;
            // Else there may be more of them.
            if peers >= MAX_PEERS {
                break;
            }
            session_end.note_checked(connection).await?;
        }
        Ok((peers, session_ends))
    }
}

/// An end of a session whose peers are to be marked.
struct DueSessionEnd {
    room_id: String,
    session_id: String,
    ended_at: DateTime<Utc>,
    /// When to check it again.
    next_check_at: Option<DateTime<Utc>>,
}

impl DueSessionEnd {
    /// Marks at most `limit` of its peers, and returns how many there were.
    async fn mark_peers(
        &self,
        connection: &mut PgConnection,
        limit: i64,
    ) -> Result<i64, sqlx::Error> {
        let peers = query_file!(
            "src/store/queries/every_node/peers_of_session_end.sql",
            self.room_id,
            self.session_id,
            self.ended_at,
            limit
        )
        .fetch_all(&mut *connection)
        .await?;
        for peer in &peers {
            query_file!(
                "src/store/queries/one_user/end_peer.sql",
                peer.user_id,
                self.room_id,
                peer.peer_id,
                self.session_id,
                self.ended_at
            )
            .execute(&mut *connection)
            .await?;
        }
        Ok(i64::try_from(peers.len()).unwrap_or(limit))
    }

    async fn note_checked(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        query_file!(
            "src/store/queries/every_node/session_end_checked.sql",
            self.room_id,
            self.session_id,
            self.ended_at,
            self.next_check_at
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}
