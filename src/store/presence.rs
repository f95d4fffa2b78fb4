//! Presence: read beside a resume, and the ends of sessions that webhooks tell of.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, query};

use super::rows;
use crate::domain::{
    ConnectedPeer, Label, PeerId, PeerKey, PeerPresence, Presence, RoomId, Timestamp, UserPresence,
};

/// The presence of each of these peers, and the peers of their users that are connected, in order.
pub(super) async fn presence(
    connection: &mut PgConnection,
    keys: &[&PeerKey],
) -> Result<Vec<UserPresence>, sqlx::Error> {
    let users: Vec<&str> = keys.iter().map(|key| key.user_id.as_str()).collect();
    let mut told: Vec<UserPresence> = keys.iter().map(|_| UserPresence::default()).collect();
    for (place, presence) in of_peers(&mut *connection, &users, keys).await? {
        entry(&mut told, place)?.peer = presence;
    }
    for (place, peer) in connected(connection, &users).await? {
        entry(&mut told, place)?.connected_peers.push(peer);
    }
    Ok(told)
}

fn entry(told: &mut [UserPresence], place: i64) -> Result<&mut UserPresence, sqlx::Error> {
    let place = usize::try_from(place - 1).ok();
    place
        .and_then(|place| told.get_mut(place))
        .ok_or_else(|| rows::corrupt("an answer to no query"))
}

async fn of_peers(
    connection: &mut PgConnection,
    users: &[&str],
    keys: &[&PeerKey],
) -> Result<Vec<(i64, PeerPresence)>, sqlx::Error> {
    let rooms: Vec<&str> = keys.iter().map(|key| key.room_id.as_str()).collect();
    let peers: Vec<&str> = keys.iter().map(|key| key.peer_id.as_str()).collect();
    let found = query!(
        r#"SELECT q.ord AS "ord!", known.connected_since, known.ended_at, known.end_kind, known.end_reason,
                  session_end.ended_at AS "session_ended_at?"
           FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS q(user_id, room_id, peer_id, ord)
           CROSS JOIN LATERAL (
               SELECT * FROM peers
               WHERE peers.user_id = q.user_id AND peers.room_id = q.room_id AND peers.peer_id = q.peer_id
               LIMIT 1
           ) AS known
           LEFT JOIN LATERAL (
               SELECT s.ended_at FROM session_ends s
               WHERE s.room_id = known.room_id AND s.ended_at >= known.last_observed_at
                 AND (known.session_id IS NULL OR s.session_id IN (known.session_id, ''))
               ORDER BY s.ended_at LIMIT 1
           ) AS session_end ON true"#,
        users as &[&str],
        &rooms as &[&str],
        &peers as &[&str]
    )
    .fetch_all(connection)
    .await?;
    found
        .into_iter()
        .map(|row| {
            let ended = rows::end(row.ended_at, row.end_kind.as_deref(), row.end_reason)?;
            let known = Presence {
                connected_since: row.connected_since.map(Into::into),
                session_id: None,
                ended,
            };
            Ok((row.ord, known.status(row.session_ended_at.map(Into::into))))
        })
        .collect()
}

/// The connected peers of each of these users, those that joined last first.
async fn connected(
    connection: &mut PgConnection,
    users: &[&str],
) -> Result<Vec<(i64, ConnectedPeer)>, sqlx::Error> {
    let found = query!(
        r#"SELECT q.ord AS "ord!", there.room_id, there.peer_id, there.joined_at
           FROM unnest($1::text[]) WITH ORDINALITY AS q(user_id, ord)
           CROSS JOIN LATERAL (
               SELECT peers.room_id, peers.peer_id, peers.joined_at FROM peers
               WHERE peers.user_id = q.user_id AND peers.connected_since IS NOT NULL AND peers.ended_at IS NULL
                 AND NOT EXISTS (
                     SELECT FROM session_ends s
                     WHERE s.room_id = peers.room_id AND s.ended_at >= peers.last_observed_at
                       AND (peers.session_id IS NULL OR s.session_id IN (peers.session_id, '')))
               ORDER BY peers.connected_since DESC, peers.peer_id DESC
               LIMIT 100
           ) AS there"#,
        users as &[&str]
    )
    .fetch_all(connection)
    .await?;
    found
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

/// Keeps the end of a session, or where only the room was told, of whichever session it had; the latest that was told.
pub(super) async fn end_session(
    connection: &mut PgConnection,
    room_id: &RoomId,
    session_id: Option<&Label>,
    at: Timestamp,
) -> Result<(), sqlx::Error> {
    let at: DateTime<Utc> = at.to_utc();
    query!(
        "INSERT INTO session_ends AS known (room_id, session_id, ended_at) VALUES ($1, $2, $3)
         ON CONFLICT (room_id, session_id) DO UPDATE SET ended_at = excluded.ended_at
         WHERE known.ended_at < excluded.ended_at",
        room_id.as_str(),
        session_id.map_or("", Label::as_str),
        at
    )
    .execute(connection)
    .await?;
    Ok(())
}
