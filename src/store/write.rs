//! Writing what moved: states, and the history behind them, in one statement.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, query_scalar};
use uuid::Uuid;

use super::columns::{Columns, PresenceColumns, RestoredColumns};
use super::fold::{Extension, Fold};
use crate::domain::{PeerState, Snapshot, Timestamp};

/// The statement, with `$extended` for one more part and its arguments.
///
/// Rows of history that are added are newer than anything of their peer, so that none of them can be there already.
macro_rules! write_moved {
    ($moved:expr, $extended:tt $(, $argument:expr)*) => {{
        let Moved { peers, versions, changed, presence, restored, history, added_with } = $moved;
        query_scalar!(
            r#"WITH written AS (
               INSERT INTO peers AS known (user_id, room_id, peer_id, snapshot_id, source, metadata_raw, name, role, tracks,
                                           joined_at, first_observed_at, last_observed_at, version, metadata_changed_at,
                                           connected_since, session_id, ended_at, end_kind, end_reason,
                                           restored_at, restored_change, restored_changed_at)
               SELECT n.user_id, n.room_id, n.peer_id, n.snapshot_id, n.source, n.metadata_raw, n.name, n.role,
                      n.tracks::json, n.joined_at, n.first_observed_at, n.last_observed_at, n.version, n.changed_at,
                      n.connected_since, n.session_id, n.ended_at, n.end_kind, n.end_reason, n.restored_at,
                      n.restored_change, n.restored_changed_at
               FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::bytea[], $7::text[], $8::text[],
                           $9::text[], $10::timestamptz[], $11::timestamptz[], $12::timestamptz[], $13::bigint[],
                           $14::timestamptz[], $15::timestamptz[], $16::text[], $17::timestamptz[], $18::text[], $19::text[],
                           $20::timestamptz[], $21::uuid[], $22::timestamptz[])
                 AS n(user_id, room_id, peer_id, snapshot_id, source, metadata_raw, name, role, tracks,
                      joined_at, first_observed_at, last_observed_at, version, changed_at,
                      connected_since, session_id, ended_at, end_kind, end_reason,
                      restored_at, restored_change, restored_changed_at)
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
               RETURNING known.snapshot_id
           ), added AS (
               INSERT INTO snapshots (user_id, room_id, peer_id, id, source, metadata_raw, name, role, tracks,
                                      joined_at, first_observed_at, last_observed_at)
               SELECT h.user_id, h.room_id, h.peer_id, h.id, h.source, h.metadata_raw, h.name, h.role, h.tracks::json,
                      h.joined_at, h.first_observed_at, h.last_observed_at
               FROM unnest($23::text[], $24::text[], $25::text[], $26::uuid[], $27::text[], $28::bytea[], $29::text[],
                           $30::text[], $31::text[], $32::timestamptz[], $33::timestamptz[], $34::timestamptz[],
                           $35::uuid[])
                 AS h(user_id, room_id, peer_id, id, source, metadata_raw, name, role, tracks,
                      joined_at, first_observed_at, last_observed_at, written_with)
               JOIN written ON written.snapshot_id = h.written_with
"# + $extended +
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
            added_with
            $(, $argument)*
        )
    }};
}

/// The arguments that every form of the statement has.
struct Moved<'a> {
    peers: Columns<'a>,
    versions: Vec<i64>,
    changed: Vec<Option<DateTime<Utc>>>,
    presence: PresenceColumns<'a>,
    restored: RestoredColumns,
    history: Columns<'a>,
    /// The row in force with which a row of history is written.
    added_with: Vec<Uuid>,
}

/// Writes the states that moved, and the history behind them, each where nobody else wrote its peer since the read.
///
/// Returns the ids of the rows in force that were written; a peer that is missing was written by somebody else first,
/// and nothing of it was.
pub(super) async fn write(connection: &mut PgConnection, folds: &[&Fold]) -> Result<Vec<Uuid>, sqlx::Error> {
    let moved: Vec<(&Fold, &PeerState)> =
        folds.iter().filter_map(|fold| fold.moved.as_ref().map(|state| (*fold, state))).collect();
    let states: Vec<Snapshot> = moved
        .iter()
        .map(|(fold, state)| Snapshot { tracks: state.tracks.clone(), ..state.snapshot(&fold.key) })
        .collect();
    let added = || moved.iter().flat_map(|(fold, state)| fold.added.iter().map(|row| (state.snapshot_id, row)));
    let arguments = Moved {
        peers: Columns::of(&states),
        versions: moved.iter().map(|(fold, _)| fold.version).collect(),
        changed: moved.iter().map(|(_, state)| state.metadata_changed_at.map(Timestamp::to_utc)).collect(),
        presence: PresenceColumns::of(moved.iter().map(|(_, state)| &state.presence)),
        restored: RestoredColumns::of(moved.iter().map(|(_, state)| state.restored)),
        history: Columns::of(added().map(|(_, row)| row)),
        added_with: added().map(|(written, _)| written).collect(),
    };
    let extended: Vec<(&str, Uuid, Extension)> = moved
        .iter()
        .filter_map(|(fold, state)| fold.extended.map(|row| (fold.key.user_id.as_str(), state.snapshot_id, row)))
        .collect();
    if extended.is_empty() {
        // An update has its price for each partition, even of no rows.
        write_moved!(&arguments, "").fetch_all(connection).await
    } else {
        write_with(connection, &arguments, &extended).await
    }
}

/// The form of the statement that also extends rows of history: `(user, row in force, row)`.
async fn write_with(
    connection: &mut PgConnection,
    moved: &Moved<'_>,
    extended: &[(&str, Uuid, Extension)],
) -> Result<Vec<Uuid>, sqlx::Error> {
    let users: Vec<&str> = extended.iter().map(|(user, ..)| *user).collect();
    let with: Vec<Uuid> = extended.iter().map(|(_, written, _)| *written).collect();
    let ids: Vec<Uuid> = extended.iter().map(|(.., row)| row.id).collect();
    let first: Vec<DateTime<Utc>> = extended.iter().map(|(.., row)| row.first_observed_at.to_utc()).collect();
    let last: Vec<DateTime<Utc>> = extended.iter().map(|(.., row)| row.last_observed_at.to_utc()).collect();
    write_moved!(
        moved,
        "           ), extended AS (
               UPDATE snapshots SET last_observed_at = e.last_observed_at
               FROM unnest($36::text[], $37::uuid[], $38::timestamptz[], $39::timestamptz[], $40::uuid[])
                 AS e(user_id, id, first_observed_at, last_observed_at, written_with)
               JOIN written ON written.snapshot_id = e.written_with
               WHERE snapshots.user_id = e.user_id AND snapshots.first_observed_at = e.first_observed_at
                 AND snapshots.id = e.id
",
        &users as &[&str],
        &ids,
        &first,
        &last,
        &with
    )
    .fetch_all(connection)
    .await
}
