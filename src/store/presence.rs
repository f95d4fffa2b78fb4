//! Presence: read with a resume, and the ends of sessions that webhooks report.

use sqlx::{PgConnection, query_file};

use super::connections::Statement;
use super::rows;
use crate::domain::{
    ConnectedPeer, Label, PeerId, PeerKey, PeerPresence, Presence, RoomId, Timestamp, UserPresence,
};

/// For each of these peers its presence and the connected peers of its user, in order.
pub(super) async fn read_presence(
    connection: &mut PgConnection,
    keys: &[PeerKey],
) -> Result<Vec<UserPresence>, sqlx::Error> {
    let user_ids: Vec<&str> = keys.iter().map(|key| key.user_id.as_str()).collect();
    let mut presences: Vec<UserPresence> = keys.iter().map(|_| UserPresence::default()).collect();
    for (ordinality, presence) in presence_of_peers(&mut *connection, &user_ids, keys).await? {
        rows::at_ordinality(&mut presences, ordinality)?.peer = presence;
    }
    for (ordinality, peer) in connected_peers(connection, &user_ids).await? {
        rows::at_ordinality(&mut presences, ordinality)?
            .connected_peers
            .push(peer);
    }
    Ok(presences)
}

async fn presence_of_peers(
    connection: &mut PgConnection,
    user_ids: &[&str],
    keys: &[PeerKey],
) -> Result<Vec<(i64, PeerPresence)>, sqlx::Error> {
    let room_ids: Vec<&str> = keys.iter().map(|key| key.room_id.as_str()).collect();
    let peer_ids: Vec<&str> = keys.iter().map(|key| key.peer_id.as_str()).collect();
    let presence_rows = query_file!(
        "src/store/queries/presence_of_peers.sql",
        user_ids as &[&str],
        &room_ids as &[&str],
        &peer_ids as &[&str]
    )
    .fetch_all(connection)
    .await?;
    presence_rows
        .into_iter()
        .map(|row| {
            let presence = Presence {
                connected_since: row.connected_since.map(Into::into),
                session_id: None,
                ended: rows::end(row.ended_at, row.end_kind.as_deref(), row.end_reason)?,
            };
            let session_ended_at = row.session_ended_at.map(Into::into);
            Ok((row.ord, presence.status(session_ended_at)))
        })
        .collect()
}

/// The connected peers of each of these users, those that joined last first.
async fn connected_peers(
    connection: &mut PgConnection,
    user_ids: &[&str],
) -> Result<Vec<(i64, ConnectedPeer)>, sqlx::Error> {
    let peer_rows = query_file!("src/store/queries/connected_peers.sql", user_ids as &[&str])
        .fetch_all(connection)
        .await?;
    peer_rows
        .into_iter()
        .map(|row| {
            let peer = ConnectedPeer {
                peer_id: PeerId::parse(&row.peer_id).map_err(rows::corrupt)?,
                room_id: RoomId::parse(&row.room_id).map_err(rows::corrupt)?,
                joined_at: row.joined_at.map(Into::into),
            };
            Ok((row.ord, peer))
        })
        .collect()
}

/// Saves the end of a session, or of whichever session the room had. The latest reported end
/// counts.
pub(super) struct EndSession {
    pub(super) room_id: RoomId,
    pub(super) session_id: Option<Label>,
    pub(super) at: Timestamp,
}

impl Statement for EndSession {
    type Output = ();

    async fn run(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
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
