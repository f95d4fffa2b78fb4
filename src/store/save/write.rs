//! Writing what moved: states, and the history behind them, in one statement.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, query_scalar};
use uuid::Uuid;

use super::columns::{Columns, PresenceColumns, RestoredColumns};
use super::peer_write::{Extension, Fold};
use crate::domain::{PeerState, Snapshot, Timestamp};

/// The statement, with `$history` for what else is to be said of the history, and its arguments.
///
/// Without it, each state that is written is a new row of history: it is taken from the state, so that it need not be sent
/// twice. Such rows are newer than anything of their peer, so that none of them can be there already. Tracks are carried
/// on in the state, but only what the peer endpoint told is history of theirs.
macro_rules! write_moved {
    ($moved:expr, $history:tt $(, $argument:expr)*) => {{
        let Moved { peers, versions, changed, presence, restored, replaces } = $moved;
        query_scalar!(
            r#"WITH written AS (
               INSERT INTO peers AS known (user_id, room_id, peer_id, snapshot_id, source, metadata_raw, name, role, tracks,
                                           joined_at, first_observed_at, last_observed_at, version, metadata_changed_at,
                                           connected_since, session_id, ended_at, end_kind, end_reason,
                                           restored_at, restored_change, restored_changed_at)
               SELECT user_id, room_id, peer_id, snapshot_id, source, metadata_raw, name, role, tracks,
                      joined_at, first_observed_at, last_observed_at, version, metadata_changed_at,
                      connected_since, session_id, ended_at, end_kind, end_reason,
                      restored_at, restored_change, restored_changed_at
               FROM unnest(
                   $1::text[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::bytea[], $7::text[], $8::text[],
                   $9::text[]::json[], $10::timestamptz[], $11::timestamptz[], $12::timestamptz[], $13::bigint[],
                   $14::timestamptz[], $15::timestamptz[], $16::text[], $17::timestamptz[], $18::text[], $19::text[],
                   $20::timestamptz[], $21::uuid[], $22::timestamptz[], $23::uuid[])
                 AS moved(user_id, room_id, peer_id, snapshot_id, source, metadata_raw, name, role, tracks,
                          joined_at, first_observed_at, last_observed_at, version, metadata_changed_at,
                          connected_since, session_id, ended_at, end_kind, end_reason,
                          restored_at, restored_change, restored_changed_at, replaces)
               WHERE moved.replaces IS NULL OR moved.replaces = (
                   SELECT there.snapshot_id FROM peers there
                   WHERE there.user_id = moved.user_id AND there.room_id = moved.room_id AND there.peer_id = moved.peer_id)
               ON CONFLICT (user_id, room_id, peer_id) DO UPDATE SET
                   snapshot_id = excluded.snapshot_id, source = excluded.source, metadata_raw = excluded.metadata_raw,
                   name = excluded.name, role = excluded.role, tracks = excluded.tracks, joined_at = excluded.joined_at,
                   first_observed_at = excluded.first_observed_at, last_observed_at = excluded.last_observed_at,
                   version = excluded.version, metadata_changed_at = excluded.metadata_changed_at,
                   connected_since = excluded.connected_since, session_id = excluded.session_id,
                   ended_at = excluded.ended_at, end_kind = excluded.end_kind, end_reason = excluded.end_reason,
                   restored_at = excluded.restored_at, restored_change = excluded.restored_change,
                   restored_changed_at = excluded.restored_changed_at
               WHERE known.version = excluded.version - 1
               RETURNING user_id, room_id, peer_id, snapshot_id, source, metadata_raw, name, role, tracks, joined_at,
                         first_observed_at, last_observed_at
           ), added AS (
               INSERT INTO snapshots (user_id, room_id, peer_id, id, source, metadata_raw, name, role, tracks,
                                      joined_at, first_observed_at, last_observed_at)
               SELECT user_id, room_id, peer_id, snapshot_id, source, metadata_raw, name, role,
                      CASE source WHEN 'peer' THEN tracks END, joined_at, first_observed_at, last_observed_at
               FROM written
"# + $history +
            r#"           )
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
            versions,
            changed as &[Option<DateTime<Utc>>],
            &presence.connected_since as &[Option<DateTime<Utc>>],
            &presence.session_id as &[Option<&str>],
            &presence.ended_at as &[Option<DateTime<Utc>>],
            &presence.end_kind as &[Option<&str>],
            &presence.end_reason as &[Option<&str>],
            &restored.at as &[Option<DateTime<Utc>>],
            &restored.change as &[Option<Uuid>],
            &restored.changed_at as &[Option<DateTime<Utc>>],
            replaces as &[Option<Uuid>]
            $(, $argument)*
        )
    }};
}

/// The states to write: the arguments that every form of the statement has.
struct Moved<'a> {
    peers: Columns<'a>,
    versions: Vec<i64>,
    changed: Vec<Option<DateTime<Utc>>>,
    presence: PresenceColumns<'a>,
    restored: RestoredColumns,
    replaces: Vec<Option<Uuid>>,
}

/// Writes the states that moved, and the history behind them, each where its peer is still as its fold started from.
///
/// Returns the ids of the rows in force that were written; a peer that is missing was otherwise, and nothing of it was
/// written.
pub(in crate::store) async fn write(
    connection: &mut PgConnection,
    folds: &[&Fold],
) -> Result<Vec<Uuid>, sqlx::Error> {
    let moved: Vec<(&Fold, &PeerState)> = folds
        .iter()
        .filter_map(|fold| fold.moved.as_ref().map(|state| (*fold, state)))
        .collect();
    let states: Vec<Snapshot> = moved
        .iter()
        .map(|(fold, state)| Snapshot {
            tracks: state.tracks.clone(),
            ..state.snapshot(&fold.key)
        })
        .collect();
    let arguments = Moved {
        peers: Columns::of(&states),
        versions: moved.iter().map(|(fold, _)| fold.version).collect(),
        changed: moved
            .iter()
            .map(|(_, state)| state.metadata_changed_at.map(Timestamp::to_utc))
            .collect(),
        presence: PresenceColumns::of(moved.iter().map(|(_, state)| &state.presence)),
        restored: RestoredColumns::of(moved.iter().map(|(_, state)| state.restored)),
        replaces: moved.iter().map(|(fold, _)| fold.replaces).collect(),
    };
    let is_one_row =
        |fold: &Fold| fold.added.is_some() && fold.passed.is_empty() && fold.extended.is_none();
    if moved.iter().all(|(fold, _)| is_one_row(fold)) {
        write_moved!(&arguments, "").fetch_all(connection).await
    } else {
        write_with(connection, &arguments, &moved).await
    }
}

/// The form of the statement for any history: rows for only some of the states, rows that were passed at once, and rows
/// that are extended (which has its price for each partition, even of no rows).
async fn write_with(
    connection: &mut PgConnection,
    states: &Moved<'_>,
    moved: &[(&Fold, &PeerState)],
) -> Result<Vec<Uuid>, sqlx::Error> {
    let added: Vec<Uuid> = moved
        .iter()
        .filter_map(|(fold, _)| fold.added.as_ref().map(|row| row.id))
        .collect();
    let passed = || {
        moved
            .iter()
            .flat_map(|(fold, state)| fold.passed.iter().map(|row| (state.snapshot_id, row)))
    };
    let passed_with: Vec<Uuid> = passed().map(|(written, _)| written).collect();
    let passed = Columns::of(passed().map(|(_, row)| row));
    let extended: Vec<(&str, Uuid, Extension)> = moved
        .iter()
        .filter_map(|(fold, state)| {
            fold.extended
                .map(|row| (fold.key.user_id.as_str(), state.snapshot_id, row))
        })
        .collect();
    let users: Vec<&str> = extended.iter().map(|(user, ..)| *user).collect();
    let with: Vec<Uuid> = extended.iter().map(|(_, written, _)| *written).collect();
    let ids: Vec<Uuid> = extended.iter().map(|(.., row)| row.id).collect();
    let first: Vec<DateTime<Utc>> = extended
        .iter()
        .map(|(.., row)| row.first_observed_at.to_utc())
        .collect();
    let last: Vec<DateTime<Utc>> = extended
        .iter()
        .map(|(.., row)| row.last_observed_at.to_utc())
        .collect();
    write_moved!(
        states,
        "               JOIN unnest($24::uuid[]) AS new(id) ON new.id = written.snapshot_id
               UNION ALL
               SELECT p.user_id, p.room_id, p.peer_id, p.id, p.source, p.metadata_raw, p.name, p.role, p.tracks,
                      p.joined_at, p.first_observed_at, p.last_observed_at
               FROM unnest($25::text[], $26::text[], $27::text[], $28::uuid[], $29::text[], $30::bytea[], $31::text[],
                           $32::text[], $33::text[]::json[], $34::timestamptz[], $35::timestamptz[], $36::timestamptz[],
                           $37::uuid[])
                 AS p(user_id, room_id, peer_id, id, source, metadata_raw, name, role, tracks,
                      joined_at, first_observed_at, last_observed_at, written_with)
               JOIN written ON written.snapshot_id = p.written_with
           ), extended AS (
               UPDATE snapshots SET last_observed_at = e.last_observed_at
               FROM unnest($38::text[], $39::uuid[], $40::timestamptz[], $41::timestamptz[], $42::uuid[])
                 AS e(user_id, id, first_observed_at, last_observed_at, written_with)
               JOIN written ON written.snapshot_id = e.written_with
               WHERE snapshots.user_id = e.user_id AND snapshots.first_observed_at = e.first_observed_at
                 AND snapshots.id = e.id
",
        &added,
        &passed.user_id as &[&str],
        &passed.room_id as &[&str],
        &passed.peer_id as &[&str],
        &passed.id,
        &passed.source as &[&str],
        &passed.metadata_raw as &[Option<&[u8]>],
        &passed.name as &[Option<&str>],
        &passed.role as &[Option<&str>],
        &passed.tracks as &[Option<&str>],
        &passed.joined_at as &[Option<DateTime<Utc>>],
        &passed.first_observed_at,
        &passed.last_observed_at,
        &passed_with,
        &users as &[&str],
        &ids,
        &first,
        &last,
        &with
    )
    .fetch_all(connection)
    .await
}
