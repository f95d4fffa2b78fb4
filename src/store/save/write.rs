//! Writes new states and the history behind them, in one statement.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, query_file_scalar};
use uuid::Uuid;

use super::columns::{PresenceColumns, RestoredColumns, SnapshotColumns};
use super::peer_write::{Extension, PeerWrite};
use crate::domain::{PeerState, Snapshot, Timestamp};

/// Writes the new states and their history, each where the baseline of its peer still holds.
///
/// Returns the ids of the current snapshots that were written. Of a peer that is missing, nothing
/// was written.
pub(super) async fn write_peers(
    connection: &mut PgConnection,
    peer_writes: &[&PeerWrite],
) -> Result<Vec<Uuid>, sqlx::Error> {
    let new_states: Vec<(&PeerWrite, &PeerState)> = peer_writes
        .iter()
        .filter_map(|peer_write| Some((*peer_write, peer_write.new_state.as_ref()?)))
        .collect();
    let snapshots: Vec<Snapshot> = new_states
        .iter()
        .map(|(peer_write, state)| current_snapshot(peer_write, state))
        .collect();
    let state_columns = StateColumns::new(&new_states, &snapshots);
    if peer_writes
        .iter()
        .all(|peer_write| adds_one_row(peer_write))
    {
        write_states(connection, &state_columns).await
    } else {
        let history_columns = HistoryColumns::new(&new_states);
        write_states_and_history(connection, &state_columns, &history_columns).await
    }
}

/// The snapshot of a state, with the tracks of the state: those that another source reported.
fn current_snapshot(peer_write: &PeerWrite, state: &PeerState) -> Snapshot {
    Snapshot {
        tracks: state.tracks.clone(),
        ..state.snapshot(&peer_write.key)
    }
}

fn adds_one_row(peer_write: &PeerWrite) -> bool {
    peer_write.new_snapshot.is_some()
        && peer_write.intermediate.is_empty()
        && peer_write.extended.is_none()
}

/// The arguments that both statements have, one entry for each new state.
struct StateColumns<'a> {
    snapshots: SnapshotColumns<'a>,
    versions: Vec<i64>,
    changed_at: Vec<Option<DateTime<Utc>>>,
    presence: PresenceColumns<'a>,
    restored: RestoredColumns,
    baseline_snapshot_ids: Vec<Option<Uuid>>,
}

impl<'a> StateColumns<'a> {
    fn new(new_states: &[(&'a PeerWrite, &'a PeerState)], snapshots: &'a [Snapshot]) -> Self {
        let states = || new_states.iter().map(|(_, state)| *state);
        let peer_writes = || new_states.iter().map(|(peer_write, _)| *peer_write);
        Self {
            snapshots: SnapshotColumns::new(snapshots),
            versions: peer_writes().map(|peer_write| peer_write.version).collect(),
            changed_at: states()
                .map(|state| state.metadata_changed_at.map(Timestamp::to_utc))
                .collect(),
            presence: PresenceColumns::new(states().map(|state| &state.presence)),
            restored: RestoredColumns::new(states().map(|state| state.restored)),
            baseline_snapshot_ids: peer_writes()
                .map(|peer_write| peer_write.baseline_snapshot_id)
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
) -> Result<Vec<Uuid>, sqlx::Error> {
    query_file_scalar!(
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
        &states.changed_at as &[Option<DateTime<Utc>>],
        &states.presence.connected_since as &[Option<DateTime<Utc>>],
        &states.presence.session_id as &[Option<&str>],
        &states.presence.ended_at as &[Option<DateTime<Utc>>],
        &states.presence.end_kind as &[Option<&str>],
        &states.presence.end_reason as &[Option<&str>],
        &states.restored.at as &[Option<DateTime<Utc>>],
        &states.restored.change as &[Option<Uuid>],
        &states.restored.changed_at as &[Option<DateTime<Utc>>],
        &states.baseline_snapshot_ids as &[Option<Uuid>]
    )
    .fetch_all(connection)
    .await
}

/// The arguments that describe history beyond one new row for each state.
#[derive(Default)]
struct HistoryColumns<'a> {
    new_snapshot_ids: Vec<Uuid>,
    intermediate: SnapshotColumns<'a>,
    intermediate_written_with: Vec<Uuid>,
    extended: ExtensionColumns<'a>,
}

impl<'a> HistoryColumns<'a> {
    fn new(new_states: &[(&'a PeerWrite, &'a PeerState)]) -> Self {
        let mut columns = Self::default();
        for (peer_write, state) in new_states {
            columns
                .new_snapshot_ids
                .extend(peer_write.new_snapshot.as_ref().map(|row| row.id));
            for snapshot in &peer_write.intermediate {
                columns.intermediate.push(snapshot);
                columns.intermediate_written_with.push(state.snapshot_id);
            }
            if let Some(extension) = &peer_write.extended {
                let user_id = peer_write.key.user_id.as_str();
                columns.extended.push(user_id, extension, state.snapshot_id);
            }
        }
        columns
    }
}

#[derive(Default)]
struct ExtensionColumns<'a> {
    user_id: Vec<&'a str>,
    id: Vec<Uuid>,
    first_observed_at: Vec<DateTime<Utc>>,
    last_observed_at: Vec<DateTime<Utc>>,
    written_with: Vec<Uuid>,
}

impl<'a> ExtensionColumns<'a> {
    fn push(&mut self, user_id: &'a str, extension: &Extension, written_with: Uuid) {
        self.user_id.push(user_id);
        self.id.push(extension.id);
        self.first_observed_at
            .push(extension.first_observed_at.to_utc());
        self.last_observed_at
            .push(extension.last_observed_at.to_utc());
        self.written_with.push(written_with);
    }
}

/// Any history: rows for only some of the states, intermediate rows, and rows that are extended.
/// The update that extends costs something for each partition, even if it updates nothing.
async fn write_states_and_history(
    connection: &mut PgConnection,
    states: &StateColumns<'_>,
    history: &HistoryColumns<'_>,
) -> Result<Vec<Uuid>, sqlx::Error> {
    query_file_scalar!(
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
        &states.changed_at as &[Option<DateTime<Utc>>],
        &states.presence.connected_since as &[Option<DateTime<Utc>>],
        &states.presence.session_id as &[Option<&str>],
        &states.presence.ended_at as &[Option<DateTime<Utc>>],
        &states.presence.end_kind as &[Option<&str>],
        &states.presence.end_reason as &[Option<&str>],
        &states.restored.at as &[Option<DateTime<Utc>>],
        &states.restored.change as &[Option<Uuid>],
        &states.restored.changed_at as &[Option<DateTime<Utc>>],
        &states.baseline_snapshot_ids as &[Option<Uuid>],
        &history.new_snapshot_ids,
        &history.intermediate.user_id as &[&str],
        &history.intermediate.room_id as &[&str],
        &history.intermediate.peer_id as &[&str],
        &history.intermediate.id,
        &history.intermediate.source as &[&str],
        &history.intermediate.metadata_raw as &[Option<&[u8]>],
        &history.intermediate.name as &[Option<&str>],
        &history.intermediate.role as &[Option<&str>],
        &history.intermediate.tracks as &[Option<&str>],
        &history.intermediate.joined_at as &[Option<DateTime<Utc>>],
        &history.intermediate.first_observed_at,
        &history.intermediate.last_observed_at,
        &history.intermediate_written_with,
        &history.extended.user_id as &[&str],
        &history.extended.id,
        &history.extended.first_observed_at,
        &history.extended.last_observed_at,
        &history.extended.written_with
    )
    .fetch_all(connection)
    .await
}
