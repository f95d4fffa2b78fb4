//! Writes new states and the history behind them, in one statement.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, query_file};
use uuid::Uuid;

use super::columns::{
    ChangeColumns, PresenceColumns, RestoredColumns, RowColumns, SnapshotColumns, array_text,
};
use super::peer_write::{Extension, PeerWrite};
use super::write_by_row::write_by_row;
use crate::domain::{Metadata, PeerState, Row, Snapshot, Source};
use crate::store::Layout;

/// What became of the writes of a batch, by their versions.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// What was written, sorted.
    pub(super) written: Vec<i64>,
    /// What was not, although its baseline held when the statement began: the peer was changed or
    /// erased meanwhile.
    pub(super) overtaken: Vec<i64>,
}

/// Writes the new states and their history, each where the baseline of its peer still holds. Where the
/// tables are distributed, in the transaction that the connection is in.
pub(super) async fn write_peers(
    connection: &mut PgConnection,
    layout: Layout,
    peer_writes: &[&PeerWrite],
) -> Result<Written, sqlx::Error> {
    let new_states: Vec<(&PeerWrite, &PeerState)> = peer_writes
        .iter()
        .filter_map(|peer_write| Some((*peer_write, peer_write.new_state.as_ref()?)))
        .collect();
    let snapshots: Vec<Snapshot> = new_states
        .iter()
        .map(|(peer_write, state)| current_snapshot(peer_write, state))
        .collect();
    let state_columns = StateColumns::new(&new_states, &snapshots);
    let history_columns = || HistoryColumns::new(&new_states);
    let rows = if layout == Layout::Distributed {
        write_by_row(connection, &state_columns, &history_columns()).await?
    } else if peer_writes
        .iter()
        .all(|peer_write| adds_one_row(peer_write))
    {
        write_states(connection, &state_columns).await?
    } else {
        write_states_and_history(connection, &state_columns, &history_columns()).await?
    };
    let mut result = Written::default();
    for (version, is_written) in rows {
        if is_written {
            result.written.push(version);
        } else {
            result.overtaken.push(version);
        }
    }
    result.written.sort_unstable();
    Ok(result)
}

/// The snapshot of a state, with the tracks of the state: those that another source reported. Of a
/// peer of which only presence is known, one without an id.
fn current_snapshot(peer_write: &PeerWrite, state: &PeerState) -> Snapshot {
    let snapshot = state.snapshot(&peer_write.key).unwrap_or_else(|| {
        let at = state.latest_report_at().unwrap_or_default();
        Snapshot {
            id: Uuid::nil(),
            key: peer_write.key.clone(),
            name: None,
            role: state.role.clone(),
            metadata: Metadata::NONE,
            tracks: None,
            joined_at: state.joined_at,
            first_observed_at: at,
            last_observed_at: at,
            source: Source::Webhook,
        }
    });
    Snapshot {
        tracks: state.tracks.clone(),
        ..snapshot
    }
}

fn adds_one_row(peer_write: &PeerWrite) -> bool {
    let adds_row = peer_write.new_row.as_ref();
    adds_row.is_some_and(|row| row.repeats.is_empty())
        && peer_write.intermediate.is_empty()
        && peer_write.extended.is_none()
}

/// The arguments that both statements have, one entry for each new state.
pub(super) struct StateColumns<'a> {
    pub(super) snapshots: SnapshotColumns<'a>,
    pub(super) versions: Vec<i64>,
    pub(super) presence: PresenceColumns<'a>,
    pub(super) restored: RestoredColumns,
    pub(super) changes: ChangeColumns,
    pub(super) baseline_versions: Vec<Option<i64>>,
}

impl<'a> StateColumns<'a> {
    fn new(new_states: &[(&'a PeerWrite, &'a PeerState)], snapshots: &'a [Snapshot]) -> Self {
        let states = || new_states.iter().map(|(_, state)| *state);
        let peer_writes = || new_states.iter().map(|(peer_write, _)| *peer_write);
        Self {
            snapshots: SnapshotColumns::new(snapshots),
            versions: peer_writes().map(|peer_write| peer_write.version).collect(),
            presence: PresenceColumns::new(states().map(|state| &state.presence)),
            restored: RestoredColumns::new(states().map(|state| state.restored)),
            changes: ChangeColumns::new(states()),
            baseline_versions: peer_writes()
                .map(|peer_write| peer_write.baseline_version)
                .collect(),
        }
    }
}

/// The common case: each state is one new row of history, which need not be sent twice.
///
/// The row is newer than anything of its peer, so it cannot be there already. The state has the
/// last known tracks, but only those of the peer endpoint go to its row.
async fn write_states(
    connection: &mut PgConnection,
    states: &StateColumns<'_>,
) -> Result<Vec<(i64, bool)>, sqlx::Error> {
    let rows = query_file!(
        "src/store/queries/write_peers.sql",
        &states.snapshots.user_id as &[&str],
        &states.snapshots.room_id as &[&str],
        &states.snapshots.peer_id as &[&str],
        &states.snapshots.id,
        &states.snapshots.source as &[&str],
        &states.snapshots.metadata_raw as &[Option<&[u8]>],
        &states.snapshots.name as &[Option<&str>],
        &states.snapshots.role as &[Option<&str>],
        &states.snapshots.tracks as &[Option<&str>],
        &states.snapshots.joined_at as &[Option<DateTime<Utc>>],
        &states.snapshots.first_observed_at,
        &states.snapshots.last_observed_at,
        &states.versions,
        &states.changes.changed_at as &[Option<DateTime<Utc>>],
        &states.presence.connected_since as &[Option<DateTime<Utc>>],
        &states.presence.session_id as &[Option<&str>],
        &states.presence.ended_at as &[Option<DateTime<Utc>>],
        &states.presence.end_kind as &[Option<&str>],
        &states.presence.end_reason as &[Option<&str>],
        &states.restored.at as &[Option<DateTime<Utc>>],
        &states.restored.change as &[Option<Uuid>],
        &states.restored.changed_at as &[Option<DateTime<Utc>>],
        &states.restored.answered_at as &[Option<DateTime<Utc>>],
        &states.changes.id as &[Option<Uuid>],
        &states.changes.observed_at as &[Option<DateTime<Utc>>],
        &states.changes.other_until as &[Option<DateTime<Utc>>],
        &states.changes.preceded_at as &[Option<DateTime<Utc>>],
        &states.changes.join_metadata as &[Option<Uuid>],
        &states.baseline_versions as &[Option<i64>]
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .iter()
        .map(|row| (row.version, row.is_written))
        .collect())
}

/// The arguments that describe history beyond one new row for each state.
#[derive(Default)]
pub(super) struct HistoryColumns<'a> {
    pub(super) new_row_versions: Vec<i64>,
    pub(super) new_row_repeats: Vec<Option<String>>,
    pub(super) intermediate: RowColumns<'a>,
    pub(super) intermediate_versions: Vec<i64>,
    pub(super) extended: ExtensionColumns<'a>,
}

impl<'a> HistoryColumns<'a> {
    fn new(new_states: &[(&'a PeerWrite, &'a PeerState)]) -> Self {
        let mut columns = Self::default();
        for (peer_write, _) in new_states {
            if let Some(row) = &peer_write.new_row {
                columns.new_row_versions.push(peer_write.version);
                columns.new_row_repeats.push(array_text(&row.repeats));
            }
            for row in &peer_write.intermediate {
                columns.intermediate.push(row);
                columns.intermediate_versions.push(peer_write.version);
            }
            if let Some(extension) = &peer_write.extended {
                let user_id = peer_write.key.user_id.as_str();
                columns
                    .extended
                    .push(user_id, extension, peer_write.version);
            }
        }
        columns
    }
}

#[derive(Default)]
pub(super) struct ExtensionColumns<'a> {
    pub(super) user_id: Vec<&'a str>,
    pub(super) id: Vec<Uuid>,
    pub(super) stored_at: Vec<DateTime<Utc>>,
    pub(super) first_observed_at: Vec<DateTime<Utc>>,
    pub(super) last_observed_at: Vec<DateTime<Utc>>,
    pub(super) times: Vec<String>,
    pub(super) versions: Vec<i64>,
}

impl<'a> ExtensionColumns<'a> {
    fn push(&mut self, user_id: &'a str, extension: &Extension, version: i64) {
        let Extension { stored_at, row } = extension;
        let Row { snapshot, repeats } = row;
        self.user_id.push(user_id);
        self.id.push(snapshot.id);
        self.stored_at.push(stored_at.to_utc());
        self.first_observed_at
            .push(snapshot.first_observed_at.to_utc());
        self.last_observed_at
            .push(snapshot.last_observed_at.to_utc());
        self.times
            .push(array_text(repeats).unwrap_or_else(|| "{}".to_owned()));
        self.versions.push(version);
    }
}

/// Any history: rows for only some of the states, intermediate rows, and rows that were observed
/// again. The update of those costs something for each partition, even if it updates nothing.
async fn write_states_and_history(
    connection: &mut PgConnection,
    states: &StateColumns<'_>,
    history: &HistoryColumns<'_>,
) -> Result<Vec<(i64, bool)>, sqlx::Error> {
    let intermediate = &history.intermediate.snapshots;
    let rows = query_file!(
        "src/store/queries/write_peers_and_history.sql",
        &states.snapshots.user_id as &[&str],
        &states.snapshots.room_id as &[&str],
        &states.snapshots.peer_id as &[&str],
        &states.snapshots.id,
        &states.snapshots.source as &[&str],
        &states.snapshots.metadata_raw as &[Option<&[u8]>],
        &states.snapshots.name as &[Option<&str>],
        &states.snapshots.role as &[Option<&str>],
        &states.snapshots.tracks as &[Option<&str>],
        &states.snapshots.joined_at as &[Option<DateTime<Utc>>],
        &states.snapshots.first_observed_at,
        &states.snapshots.last_observed_at,
        &states.versions,
        &states.changes.changed_at as &[Option<DateTime<Utc>>],
        &states.presence.connected_since as &[Option<DateTime<Utc>>],
        &states.presence.session_id as &[Option<&str>],
        &states.presence.ended_at as &[Option<DateTime<Utc>>],
        &states.presence.end_kind as &[Option<&str>],
        &states.presence.end_reason as &[Option<&str>],
        &states.restored.at as &[Option<DateTime<Utc>>],
        &states.restored.change as &[Option<Uuid>],
        &states.restored.changed_at as &[Option<DateTime<Utc>>],
        &states.restored.answered_at as &[Option<DateTime<Utc>>],
        &states.changes.id as &[Option<Uuid>],
        &states.changes.observed_at as &[Option<DateTime<Utc>>],
        &states.changes.other_until as &[Option<DateTime<Utc>>],
        &states.changes.preceded_at as &[Option<DateTime<Utc>>],
        &states.changes.join_metadata as &[Option<Uuid>],
        &states.baseline_versions as &[Option<i64>],
        &history.new_row_versions,
        &history.new_row_repeats as &[Option<String>],
        &intermediate.user_id as &[&str],
        &intermediate.room_id as &[&str],
        &intermediate.peer_id as &[&str],
        &intermediate.id,
        &intermediate.source as &[&str],
        &intermediate.metadata_raw as &[Option<&[u8]>],
        &intermediate.name as &[Option<&str>],
        &intermediate.role as &[Option<&str>],
        &intermediate.tracks as &[Option<&str>],
        &intermediate.joined_at as &[Option<DateTime<Utc>>],
        &intermediate.first_observed_at,
        &intermediate.last_observed_at,
        &history.intermediate.repeats as &[Option<String>],
        &history.intermediate_versions,
        &history.extended.user_id as &[&str],
        &history.extended.id,
        &history.extended.stored_at,
        &history.extended.first_observed_at,
        &history.extended.last_observed_at,
        &history.extended.times,
        &history.extended.versions
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .iter()
        .map(|row| (row.version, row.is_written))
        .collect())
}
