//! The saved state of one user where the tables are distributed. Its presence is read by statements of their own: Citus plans
//! these in less time than one statement that has all.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, query_file, query_file_as};
use uuid::Uuid;

use super::ResumeQuery;
use super::latest::Row;
use crate::domain::{PeerId, RoomId, SavedState, UserId};
use crate::store::presence::LivePeer;

/// How many connected peers are returned.
const MAX_LIVE: usize = 100;
/// How many are read, since some may have ended with their session.
const MAX_READ: i64 = 200;

/// The saved state of a user, with presence where it is wanted.
pub(super) async fn latest_of_user(
    connection: &mut PgConnection,
    query: &ResumeQuery,
    presence: bool,
) -> Result<Option<SavedState>, sqlx::Error> {
    let newest = query_file_as!(
        Newest,
        "src/store/queries/one_user/resume.sql",
        query.user_id.as_str(),
        query.exclude_peer_id.as_ref().map(PeerId::as_str),
        query.room_id.as_ref().map(RoomId::as_str)
    );
    let Some(newest) = newest.fetch_optional(&mut *connection).await? else {
        return Ok(None);
    };
    let row = if presence {
        let connected = connected_peers(connection, &query.user_id).await?;
        let ends = ends_of_sessions(connection, &newest, &connected).await?;
        newest.with_presence(connected, &ends)
    } else {
        newest.into_row()
    };
    row.into_state().map(Some)
}

struct Newest {
    user_id: String,
    room_id: String,
    peer_id: String,
    snapshot_id: Uuid,
    metadata_raw: Option<Vec<u8>>,
    changed_at: DateTime<Utc>,
    change_id: Option<Uuid>,
    name: Option<String>,
    role: Option<String>,
    joined_at: Option<DateTime<Utc>>,
    last_observed_at: DateTime<Utc>,
    connected_since: Option<DateTime<Utc>>,
    ended_at: Option<DateTime<Utc>>,
    end_kind: Option<String>,
    end_reason: Option<String>,
    departed_at: Option<DateTime<Utc>>,
    session_id: Option<String>,
    connected_at: DateTime<Utc>,
}

struct ConnectedPeer {
    room_id: String,
    peer_id: String,
    joined_at: Option<DateTime<Utc>>,
    session_id: Option<String>,
    connected_at: DateTime<Utc>,
}

/// The ends of sessions by the position of their peer: the newest at 1, the connected ones after it.
type Ends = HashMap<i64, DateTime<Utc>>;

impl Newest {
    fn with_presence(self, connected: Vec<ConnectedPeer>, ends: &Ends) -> Row {
        let departed_at = self.departed_at.filter(|at| *at >= self.connected_at);
        let session_ended_at = ends.get(&1).copied().filter(|_| self.ended_at.is_none());
        let positions = (2..).zip(connected);
        let live = positions.filter(|(position, _)| !ends.contains_key(position));
        let live: Vec<LivePeer> = live
            .map(|(_, peer)| (peer.room_id, peer.peer_id, peer.joined_at))
            .take(MAX_LIVE)
            .collect();
        Row {
            connected_since: self.connected_since,
            ended_at: self.ended_at,
            end_kind: self.end_kind.clone(),
            end_reason: self.end_reason.clone(),
            departed_at,
            session_ended_at,
            live: Some(live),
            ..self.into_row()
        }
    }

    /// Without presence.
    fn into_row(self) -> Row {
        Row {
            ord: 1,
            user_id: self.user_id,
            room_id: self.room_id,
            peer_id: self.peer_id,
            snapshot_id: self.snapshot_id,
            metadata_raw: self.metadata_raw,
            changed_at: self.changed_at,
            change_id: self.change_id,
            name: self.name,
            role: self.role,
            joined_at: self.joined_at,
            last_observed_at: self.last_observed_at,
            connected_since: None,
            ended_at: None,
            end_kind: None,
            end_reason: None,
            departed_at: None,
            session_ended_at: None,
            live: None,
        }
    }
}

async fn connected_peers(
    connection: &mut PgConnection,
    user_id: &UserId,
) -> Result<Vec<ConnectedPeer>, sqlx::Error> {
    query_file_as!(
        ConnectedPeer,
        "src/store/queries/one_user/connected_peers.sql",
        user_id.as_str(),
        MAX_READ
    )
    .fetch_all(connection)
    .await
}

async fn ends_of_sessions(
    connection: &mut PgConnection,
    newest: &Newest,
    connected: &[ConnectedPeer],
) -> Result<Ends, sqlx::Error> {
    if newest.ended_at.is_some() && connected.is_empty() {
        return Ok(Ends::new());
    }
    let mut room_ids = vec![newest.room_id.as_str()];
    let mut session_ids = vec![newest.session_id.as_deref()];
    let mut connected_at = vec![newest.connected_at];
    for peer in connected {
        room_ids.push(&peer.room_id);
        session_ids.push(peer.session_id.as_deref());
        connected_at.push(peer.connected_at);
    }
    let ends = query_file!(
        "src/store/queries/one_user/ends_of_sessions.sql",
        &room_ids as &[&str],
        &session_ids as &[Option<&str>],
        &connected_at
    )
    .fetch_all(connection)
    .await?;
    Ok(ends
        .into_iter()
        .map(|end| (end.ord, end.ended_at))
        .collect())
}
