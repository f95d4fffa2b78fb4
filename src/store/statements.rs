//! The three statements of a save: read what is known, write what moved, add what came late.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, query, query_scalar};
use uuid::Uuid;

use super::columns::{Columns, PresenceColumns};
use super::fold::{Fold, Saved, Versioned};
use super::rows;
use crate::domain::{PeerKey, PeerState, Presence, Snapshot, Timestamp, Tracks};

/// What the database holds of these peers.
pub(super) async fn read(
    connection: &mut PgConnection,
    keys: &[&PeerKey],
) -> Result<BTreeMap<PeerKey, Versioned>, sqlx::Error> {
    let users: Vec<&str> = keys.iter().map(|key| key.user_id.as_str()).collect();
    let rooms: Vec<&str> = keys.iter().map(|key| key.room_id.as_str()).collect();
    let peers: Vec<&str> = keys.iter().map(|key| key.peer_id.as_str()).collect();
    let found = query!(
        r#"SELECT known.user_id, known.room_id, known.peer_id, known.version, known.snapshot_id, known.source,
                  known.metadata_raw, known.metadata_changed_at, known.name, known.role, known.tracks::text AS tracks,
                  known.joined_at, known.first_observed_at, known.last_observed_at, known.connected_since,
                  known.session_id, known.ended_at, known.end_kind, known.end_reason
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
            };
            Ok((key, Versioned { state, version: row.version }))
        })
        .collect()
}

/// Writes the states that moved, and the history behind them, each where nobody else wrote its peer since the read.
///
/// Returns the ids of the rows in force that were written; a peer that is missing was written by somebody else first,
/// and nothing of it was.
#[expect(clippy::too_many_lines, reason = "it is one statement and its arguments")]
pub(super) async fn write(connection: &mut PgConnection, folds: &[&Fold]) -> Result<Vec<Uuid>, sqlx::Error> {
    let moved: Vec<(&Fold, &PeerState)> =
        folds.iter().filter_map(|fold| fold.moved.as_ref().map(|state| (*fold, state))).collect();
    let states: Vec<Snapshot> = moved
        .iter()
        .map(|(fold, state)| Snapshot { tracks: state.tracks.clone(), ..state.snapshot(&fold.key) })
        .collect();
    let peers = Columns::of(&states);
    let versions: Vec<i64> = moved.iter().map(|(fold, _)| fold.version).collect();
    let changed: Vec<Option<DateTime<Utc>>> =
        moved.iter().map(|(_, state)| state.metadata_changed_at.map(Timestamp::to_utc)).collect();

    let presence = PresenceColumns::of(moved.iter().map(|(_, state)| &state.presence));

    let added: Vec<(Uuid, &Snapshot)> =
        moved.iter().flat_map(|(fold, state)| fold.added.iter().map(|row| (state.snapshot_id, row))).collect();
    let added_with: Vec<Uuid> = added.iter().map(|(written, _)| *written).collect();
    let history = Columns::of(added.iter().map(|(_, row)| *row));

    let extended: Vec<_> = moved
        .iter()
        .filter_map(|(fold, state)| fold.extended.map(|row| (fold.key.user_id.as_str(), state.snapshot_id, row)))
        .collect();
    let extended_user: Vec<&str> = extended.iter().map(|(user, ..)| *user).collect();
    let extended_with: Vec<Uuid> = extended.iter().map(|(_, written, _)| *written).collect();
    let extended_id: Vec<Uuid> = extended.iter().map(|(.., row)| row.id).collect();
    let extended_first: Vec<DateTime<Utc>> = extended.iter().map(|(.., row)| row.first_observed_at.to_utc()).collect();
    let extended_last: Vec<DateTime<Utc>> = extended.iter().map(|(.., row)| row.last_observed_at.to_utc()).collect();

    query_scalar!(
        r#"WITH written AS (
               INSERT INTO peers AS known (user_id, room_id, peer_id, snapshot_id, source, metadata_raw, name, role, tracks,
                                           joined_at, first_observed_at, last_observed_at, version, metadata_changed_at,
                                           connected_since, session_id, ended_at, end_kind, end_reason)
               SELECT n.user_id, n.room_id, n.peer_id, n.snapshot_id, n.source, n.metadata_raw, n.name, n.role,
                      n.tracks::json, n.joined_at, n.first_observed_at, n.last_observed_at, n.version, n.changed_at,
                      n.connected_since, n.session_id, n.ended_at, n.end_kind, n.end_reason
               FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::bytea[], $7::text[], $8::text[],
                           $9::text[], $10::timestamptz[], $11::timestamptz[], $12::timestamptz[], $13::bigint[],
                           $14::timestamptz[], $33::timestamptz[], $34::text[], $35::timestamptz[], $36::text[], $37::text[])
                 AS n(user_id, room_id, peer_id, snapshot_id, source, metadata_raw, name, role, tracks,
                      joined_at, first_observed_at, last_observed_at, version, changed_at,
                      connected_since, session_id, ended_at, end_kind, end_reason)
               ON CONFLICT (user_id, room_id, peer_id) DO UPDATE SET
                   snapshot_id = excluded.snapshot_id, source = excluded.source, metadata_raw = excluded.metadata_raw,
                   name = excluded.name, role = excluded.role, tracks = excluded.tracks, joined_at = excluded.joined_at,
                   first_observed_at = excluded.first_observed_at, last_observed_at = excluded.last_observed_at,
                   version = excluded.version, metadata_changed_at = excluded.metadata_changed_at,
                   connected_since = excluded.connected_since, session_id = excluded.session_id,
                   ended_at = excluded.ended_at, end_kind = excluded.end_kind, end_reason = excluded.end_reason
               WHERE known.version = excluded.version - 1
               RETURNING known.snapshot_id
           ), added AS (
               INSERT INTO snapshots (user_id, room_id, peer_id, id, source, metadata_raw, name, role, tracks,
                                      joined_at, first_observed_at, last_observed_at)
               SELECT h.user_id, h.room_id, h.peer_id, h.id, h.source, h.metadata_raw, h.name, h.role, h.tracks::json,
                      h.joined_at, h.first_observed_at, h.last_observed_at
               FROM unnest($15::text[], $16::text[], $17::text[], $18::uuid[], $19::text[], $20::bytea[], $21::text[],
                           $22::text[], $23::text[], $24::timestamptz[], $25::timestamptz[], $26::timestamptz[],
                           $27::uuid[])
                 AS h(user_id, room_id, peer_id, id, source, metadata_raw, name, role, tracks,
                      joined_at, first_observed_at, last_observed_at, written_with)
               JOIN written ON written.snapshot_id = h.written_with
               ON CONFLICT DO NOTHING
           ), extended AS (
               UPDATE snapshots SET last_observed_at = e.last_observed_at
               FROM unnest($28::text[], $29::uuid[], $30::timestamptz[], $31::timestamptz[], $32::uuid[])
                 AS e(user_id, id, first_observed_at, last_observed_at, written_with)
               JOIN written ON written.snapshot_id = e.written_with
               WHERE snapshots.user_id = e.user_id AND snapshots.first_observed_at = e.first_observed_at
                 AND snapshots.id = e.id
           )
           SELECT snapshot_id FROM written"#,
        &peers.user_id as &[&str],
        &peers.room_id as &[&str],
        &peers.peer_id as &[&str],
        &peers.id,
        &peers.source as &[&str],
        &peers.metadata_raw as &[Option<&[u8]>],
        &peers.name as &[Option<&str>],
        &peers.role as &[Option<&str>],
        &peers.tracks as &[Option<&str>],
        &peers.joined_at as &[Option<DateTime<Utc>>],
        &peers.first_observed_at,
        &peers.last_observed_at,
        &versions,
        &changed as &[Option<DateTime<Utc>>],
        &history.user_id as &[&str],
        &history.room_id as &[&str],
        &history.peer_id as &[&str],
        &history.id,
        &history.source as &[&str],
        &history.metadata_raw as &[Option<&[u8]>],
        &history.name as &[Option<&str>],
        &history.role as &[Option<&str>],
        &history.tracks as &[Option<&str>],
        &history.joined_at as &[Option<DateTime<Utc>>],
        &history.first_observed_at,
        &history.last_observed_at,
        &added_with,
        &extended_user as &[&str],
        &extended_id,
        &extended_first,
        &extended_last,
        &extended_with,
        &presence.connected_since as &[Option<DateTime<Utc>>],
        &presence.session_id as &[Option<&str>],
        &presence.ended_at as &[Option<DateTime<Utc>>],
        &presence.end_kind as &[Option<&str>],
        &presence.end_reason as &[Option<&str>],
    )
    .fetch_all(connection)
    .await
}

/// Adds rows that came late, at their own time, each unless a row of that time says the same already.
///
/// Returns the answers in order.
pub(super) async fn add_late(connection: &mut PgConnection, late: &[&Snapshot]) -> Result<Vec<Saved>, sqlx::Error> {
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
    let mut answers: Vec<Saved> = late.iter().map(|&row| Saved { snapshot: row.clone(), changed: true }).collect();
    for row in covering {
        let place = usize::try_from(row.ord - 1).ok().filter(|&place| place < answers.len());
        let answer = &mut answers[place.ok_or_else(|| rows::corrupt("an answer to no row"))?];
        answer.changed = false;
        answer.snapshot.id = row.id;
        answer.snapshot.first_observed_at = row.first_observed_at.into();
        answer.snapshot.last_observed_at = row.last_observed_at.into();
    }
    Ok(answers)
}
