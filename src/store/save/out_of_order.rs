//! Adds observations that are older than the newest one of their peer.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, query_file};

use super::columns::SnapshotColumns;
use super::peer_write::Saved;
use crate::domain::Snapshot;
use crate::store::rows;

/// Adds rows of history at their own time, each unless a row already covers it. Returns one answer
/// for each row, in order.
pub(super) async fn add_out_of_order(
    connection: &mut PgConnection,
    snapshots: &[&Snapshot],
) -> Result<Vec<Saved>, sqlx::Error> {
    let columns = SnapshotColumns::new(snapshots.iter().copied());
    let covering_rows = query_file!(
        "src/store/queries/add_out_of_order.sql",
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
    let mut saved: Vec<Saved> = snapshots
        .iter()
        .map(|&snapshot| Saved {
            snapshot: snapshot.clone(),
            changed: true,
        })
        .collect();
    for row in covering_rows {
        let answer = rows::at_ordinality(&mut saved, row.ord)?;
        answer.changed = false;
        answer.snapshot.id = row.id;
        answer.snapshot.first_observed_at = row.first_observed_at.into();
        answer.snapshot.last_observed_at = row.last_observed_at.into();
    }
    Ok(saved)
}
