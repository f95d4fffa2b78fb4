//! The statements around a write: read what is known, add what came late.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, query};

use super::columns::Columns;
use super::peer_write::{Saved, Versioned};
use crate::domain::{PeerKey, PeerState, Presence, Snapshot, Tracks};
use crate::store::rows;

/// What the database holds of these peers.
pub(in crate::store) async fn read(
    connection: &mut PgConnection,
    keys: &[&PeerKey],
) -> Result<BTreeMap<PeerKey, Versioned>, sqlx::Error> {
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let users: Vec<&str> = keys.iter().map(|key| key.user_id.as_str()).collect();
    let rooms: Vec<&str> = keys.iter().map(|key| key.room_id.as_str()).collect();
    let peers: Vec<&str> = keys.iter().map(|key| key.peer_id.as_str()).collect();
    let found = query!(
        r#"SELECT known.user_id, known.room_id, known.peer_id, known.version, known.snapshot_id, known.source,
                  known.metadata_raw, known.metadata_changed_at, known.name, known.role, known.tracks::text AS tracks,
                  known.joined_at, known.first_observed_at, known.last_observed_at, known.connected_since,
                  known.session_id, known.ended_at, known.end_kind, known.end_reason, known.restored_at,
                  known.restored_change, known.restored_changed_at
           FROM unnest($1::text[], $2::text[], $3::text[]) AS q(user_id, room_id, peer_id)
           CROSS JOIN LATERAL (
               SELECT * FROM peers
               WHERE peers.user_id = q.user_id AND peers.room_id = q.room_id AND peers.peer_id = q.peer_id
               LIMIT 1
           ) AS known"#,
        &users as &[&str],
        &rooms as &[&str],
        &peers as &[&str]
    )
    .fetch_all(connection)
    .await?;
    found
        .into_iter()
        .map(|row| {
            let key = rows::key(&row.user_id, &row.room_id, &row.peer_id)?;
            let state = PeerState {
                snapshot_id: row.snapshot_id,
                first_observed_at: row.first_observed_at.into(),
                last_observed_at: row.last_observed_at.into(),
                source: rows::source(&row.source)?,
                metadata: rows::metadata(row.metadata_raw)?,
                metadata_changed_at: row.metadata_changed_at.map(Into::into),
                name: rows::label(row.name),
                role: rows::label(row.role),
                tracks: row.tracks.map(Tracks::from_canonical),
                joined_at: row.joined_at.map(Into::into),
                presence: Presence {
                    connected_since: row.connected_since.map(Into::into),
                    session_id: rows::label(row.session_id),
                    ended: rows::end(row.ended_at, row.end_kind.as_deref(), row.end_reason)?,
                },
                restored: rows::mark(
                    row.restored_at,
                    row.restored_change,
                    row.restored_changed_at,
                ),
            };
            Ok((
                key,
                Versioned {
                    state,
                    version: row.version,
                },
            ))
        })
        .collect()
}

/// Adds rows that came late, at their own time, each unless a row of that time says the same already.
///
/// Returns the answers in order.
pub(in crate::store) async fn add_late(
    connection: &mut PgConnection,
    late: &[&Snapshot],
) -> Result<Vec<Saved>, sqlx::Error> {
    let columns = Columns::of(late.iter().copied());
    let covering = query!(
        r#"WITH given AS (
               SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::bytea[], $7::text[],
                                    $8::text[], $9::text[], $10::timestamptz[], $11::timestamptz[])
                   WITH ORDINALITY AS g(user_id, room_id, peer_id, id, source, metadata_raw, name, role, tracks,
                                        joined_at, observed_at, ord)
           ), covering AS (
               SELECT given.ord, there.id, there.first_observed_at, there.last_observed_at
               FROM given CROSS JOIN LATERAL (
                   SELECT s.id, s.first_observed_at, s.last_observed_at FROM snapshots s
                   WHERE s.user_id = given.user_id AND s.room_id = given.room_id AND s.peer_id = given.peer_id
                     AND s.first_observed_at <= given.observed_at AND s.last_observed_at >= given.observed_at
                     AND s.metadata_raw IS NOT DISTINCT FROM given.metadata_raw
                     AND (given.name IS NULL OR s.name = given.name)
                     AND (given.role IS NULL OR s.role = given.role)
                     AND (given.tracks IS NULL OR s.tracks::text = given.tracks)
                   ORDER BY s.first_observed_at DESC
                   LIMIT 1
               ) AS there
           ), added AS (
               INSERT INTO snapshots (user_id, room_id, peer_id, id, source, metadata_raw, name, role, tracks,
                                      joined_at, first_observed_at, last_observed_at)
               SELECT user_id, room_id, peer_id, id, source, metadata_raw, name, role, tracks::json, joined_at,
                      observed_at, observed_at
               FROM given WHERE NOT EXISTS (SELECT FROM covering WHERE covering.ord = given.ord)
               ON CONFLICT DO NOTHING
           )
           SELECT ord AS "ord!", id, first_observed_at, last_observed_at FROM covering"#,
        &columns.user_id as &[&str],
        &columns.room_id as &[&str],
        &columns.peer_id as &[&str],
        &columns.id,
        &columns.source as &[&str],
        &columns.metadata_raw as &[Option<&[u8]>],
        &columns.name as &[Option<&str>],
        &columns.role as &[Option<&str>],
        &columns.tracks as &[Option<&str>],
        &columns.joined_at as &[Option<DateTime<Utc>>],
        &columns.first_observed_at,
    )
    .fetch_all(connection)
    .await?;
    let mut answers: Vec<Saved> = late
        .iter()
        .map(|&row| Saved {
            snapshot: row.clone(),
            changed: true,
        })
        .collect();
    for row in covering {
        let place = usize::try_from(row.ord - 1)
            .ok()
            .filter(|&place| place < answers.len());
        let answer = &mut answers[place.ok_or_else(|| rows::corrupt("an answer to no row"))?];
        answer.changed = false;
        answer.snapshot.id = row.id;
        answer.snapshot.first_observed_at = row.first_observed_at.into();
        answer.snapshot.last_observed_at = row.last_observed_at.into();
    }
    Ok(answers)
}
