//! Writes new states and the history behind them where the tables are distributed: each row in a statement of its own, which
//! names its user. A transaction holds them together.

use sqlx::{PgConnection, query_file, query_file_scalar};

use super::columns::SnapshotColumns;
use super::write::{ExtensionColumns, HistoryColumns, StateColumns};

/// Writes each state whose baseline still holds, with its history. Returns what became of those whose baseline held when
/// their statement began, by version.
pub(super) async fn write_by_row(
    connection: &mut PgConnection,
    states: &StateColumns<'_>,
    history: &HistoryColumns<'_>,
) -> Result<Vec<(i64, bool)>, sqlx::Error> {
    let mut outcomes = Vec::new();
    for (index, &version) in states.versions.iter().enumerate() {
        let is_written = match states.baseline_versions[index] {
            Some(baseline) => update_peer(connection, states, index, baseline).await?,
            None => insert_peer(connection, states, index).await?,
        };
        if is_written == Some(true) {
            write_history(connection, states, history, index).await?;
        }
        outcomes.extend(is_written.map(|is_written| (version, is_written)));
    }
    Ok(outcomes)
}

/// Whether the peer is written; none where the baseline did not hold when the statement began.
async fn update_peer(
    connection: &mut PgConnection,
    states: &StateColumns<'_>,
    index: usize,
    baseline_version: i64,
) -> Result<Option<bool>, sqlx::Error> {
    let StateColumns {
        snapshots,
        presence,
        restored,
        changes,
        ..
    } = states;
    query_file_scalar!(
        "src/store/queries/one_user/update_peer.sql",
        &snapshots.user_id[index],
        &snapshots.room_id[index],
        &snapshots.peer_id[index],
        snapshots.id[index],
        &snapshots.source[index],
        snapshots.metadata_raw[index],
        snapshots.name[index],
        snapshots.role[index],
        snapshots.tracks[index],
        snapshots.joined_at[index],
        snapshots.first_observed_at[index],
        snapshots.last_observed_at[index],
        states.versions[index],
        changes.changed_at[index],
        presence.connected_since[index],
        presence.session_id[index],
        presence.ended_at[index],
        presence.end_kind[index],
        presence.end_reason[index],
        restored.at[index],
        restored.change[index],
        restored.changed_at[index],
        restored.answered_at[index],
        changes.id[index],
        changes.observed_at[index],
        changes.other_until[index],
        changes.preceded_at[index],
        changes.join_metadata[index],
        baseline_version
    )
    .fetch_optional(connection)
    .await
}

/// True where the peer is written; none where it was there.
async fn insert_peer(
    connection: &mut PgConnection,
    states: &StateColumns<'_>,
    index: usize,
) -> Result<Option<bool>, sqlx::Error> {
    let StateColumns {
        snapshots,
        presence,
        restored,
        changes,
        ..
    } = states;
    let inserted = query_file!(
        "src/store/queries/one_user/insert_peer.sql",
        &snapshots.user_id[index],
        &snapshots.room_id[index],
        &snapshots.peer_id[index],
        snapshots.id[index],
        &snapshots.source[index],
        snapshots.metadata_raw[index],
        snapshots.name[index],
        snapshots.role[index],
        snapshots.tracks[index],
        snapshots.joined_at[index],
        snapshots.first_observed_at[index],
        snapshots.last_observed_at[index],
        states.versions[index],
        changes.changed_at[index],
        presence.connected_since[index],
        presence.session_id[index],
        presence.ended_at[index],
        presence.end_kind[index],
        presence.end_reason[index],
        restored.at[index],
        restored.change[index],
        restored.changed_at[index],
        restored.answered_at[index],
        changes.id[index],
        changes.observed_at[index],
        changes.other_until[index],
        changes.preceded_at[index],
        changes.join_metadata[index]
    )
    .execute(connection)
    .await?;
    Ok((inserted.rows_affected() > 0).then_some(true))
}

/// Writes what belongs to a state that is written.
async fn write_history(
    connection: &mut PgConnection,
    states: &StateColumns<'_>,
    history: &HistoryColumns<'_>,
    state: usize,
) -> Result<(), sqlx::Error> {
    let version = states.versions[state];
    if let Some(index) = position(&history.new_row_versions, version) {
        // The state has the last known tracks, but only those of the peer endpoint go to its row.
        let snapshots = &states.snapshots;
        let tracks = snapshots.tracks[state].filter(|_| snapshots.source[state] == "peer");
        let repeats = history.new_row_repeats[index].as_deref();
        add_row(connection, snapshots, state, tracks, repeats).await?;
    }
    let versions = history.intermediate_versions.iter().enumerate();
    for (index, _) in versions.filter(|(_, of_state)| **of_state == version) {
        let snapshots = &history.intermediate.snapshots;
        let repeats = history.intermediate.repeats[index].as_deref();
        add_row(
            connection,
            snapshots,
            index,
            snapshots.tracks[index],
            repeats,
        )
        .await?;
    }
    if let Some(index) = position(&history.extended.versions, version) {
        extend_row(connection, &history.extended, index).await?;
    }
    Ok(())
}

fn position(versions: &[i64], version: i64) -> Option<usize> {
    versions.iter().position(|&of_state| of_state == version)
}

/// Adds a row of history.
pub(super) async fn add_row(
    connection: &mut PgConnection,
    snapshots: &SnapshotColumns<'_>,
    index: usize,
    tracks: Option<&str>,
    repeats: Option<&str>,
) -> Result<(), sqlx::Error> {
    query_file!(
        "src/store/queries/one_user/add_row.sql",
        &snapshots.user_id[index],
        &snapshots.room_id[index],
        &snapshots.peer_id[index],
        snapshots.id[index],
        &snapshots.source[index],
        snapshots.metadata_raw[index],
        snapshots.name[index],
        snapshots.role[index],
        tracks,
        snapshots.joined_at[index],
        snapshots.first_observed_at[index],
        snapshots.last_observed_at[index],
        repeats
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn extend_row(
    connection: &mut PgConnection,
    extended: &ExtensionColumns<'_>,
    index: usize,
) -> Result<(), sqlx::Error> {
    query_file!(
        "src/store/queries/one_user/extend_row.sql",
        extended.user_id[index],
        extended.id[index],
        extended.stored_at[index],
        extended.first_observed_at[index],
        extended.last_observed_at[index],
        extended.times[index]
    )
    .execute(connection)
    .await?;
    Ok(())
}
