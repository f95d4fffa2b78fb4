//! Saves a report that arrived out of order: it rebuilds the rows of its peer.
//!
//! Every such report has a transaction of its own that locks the row of its peer. It never runs
//! within the statement of a batch.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, query_file, query_scalar};
use uuid::Uuid;

use super::align::{align_restored_peers, change_to_align};
use super::baseline::{Baseline, VersionedState};
use super::columns::RowColumns;
use super::peer_write::{PeerWrite, Saved};
use super::read::read_peers;
use super::straggler::{Waited, is_lock_timeout};
use super::write::write_peers;
use super::write_by_row::add_row;
use crate::domain::{
    Effect, NewForward, PeerKey, Report, Row, RowChanges, Rules, Snapshot, Tracks,
};
use crate::store::connections::{Statement, begin_on_nodes, begin_with};
use crate::store::forwards::queue_forwards;
use crate::store::own_events::OwnEvents;
use crate::store::restore_jobs::queue_restore_jobs;
use crate::store::{Layout, rows};

/// A rebuild waits no longer for a lock than a batch does.
pub(super) const SET_LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '40ms'";
/// How many of the newest rows of a peer are read. What is older than those is added as a row of
/// its own.
const MAX_ROWS: usize = 64;

/// Saves a report that arrived out of order.
pub(super) struct Rebuild<'a> {
    pub(super) report: &'a Report,
    pub(super) rules: &'a Rules,
    /// How own events are queued, if they are.
    pub(super) own_events: Option<&'a OwnEvents>,
}

impl Statement for Rebuild<'_> {
    type Output = Waited;

    async fn run(&self, connection: &mut PgConnection) -> Result<Waited, sqlx::Error> {
        self.run_on(connection, Layout::OneServer).await
    }

    async fn run_distributed(&self, connection: &mut PgConnection) -> Result<Waited, sqlx::Error> {
        self.run_on(connection, Layout::Distributed).await
    }
}

impl Rebuild<'_> {
    async fn run_on(
        &self,
        connection: &mut PgConnection,
        layout: Layout,
    ) -> Result<Waited, sqlx::Error> {
        let mut transaction = match layout {
            Layout::OneServer => begin_with(connection, SET_LOCK_TIMEOUT).await?,
            Layout::Distributed => begin_on_nodes(connection, SET_LOCK_TIMEOUT).await?,
        };
        match self.rebuild(&mut transaction, layout).await {
            // It waits for the lock elsewhere: others are rebuilt meanwhile.
            Err(error) if is_lock_timeout(&error) => {
                transaction.rollback().await?;
                Ok(Waited::Locked)
            }
            outcome => {
                let outcome = outcome?;
                transaction.commit().await?;
                if let Some(own_events) = self.own_events {
                    own_events.notify();
                }
                Ok(outcome)
            }
        }
    }

    async fn rebuild(
        &self,
        connection: &mut PgConnection,
        layout: Layout,
    ) -> Result<Waited, sqlx::Error> {
        let key = self.report.key();
        lock_peer(connection, key).await?;
        let stored = read_peers(connection, layout, &[key]).await?.remove(key);
        let Some(VersionedState { mut state, version }) = stored else {
            return Ok(Waited::Erased);
        };
        if state.clone().apply(self.report, self.rules) != Effect::OutOfOrder {
            return Ok(Waited::Ready);
        }
        let before = state.clone();
        let (mut rows, mut complete) = read_rows(connection, key).await?;
        if let Some(count) = state.rows_before_gap(&rows) {
            rows.drain(..count);
            complete = false;
        }
        state.apply(self.report, self.rules);
        let changes = if reaches(&rows, complete, self.report) {
            state.rebuild(key, &rows, complete, self.report, self.rules)
        } else {
            lone_row(self.report)
        };
        let saved = self.saved(&rows, &changes, state.snapshot(key));
        let baseline = Baseline::Read(Some(VersionedState {
            state: state.clone(),
            version,
        }));
        let mut peer_write = PeerWrite::new(key, baseline, &[], &[], self.rules);
        if state.accepts_restore() {
            peer_write.restore_requested_at = self.report.restore_requested_at();
        }
        peer_write.change_to_align = change_to_align(&before, &state);
        peer_write.resume_entry_before = before.resume_entry();
        peer_write.new_state = Some(state);
        write_peers(connection, layout, &[&peer_write]).await?;
        change_rows(connection, layout, key, &changes).await?;
        let peer_writes = [peer_write];
        align_restored_peers(connection, layout, &peer_writes).await?;
        if peer_writes[0].restore_requested_at.is_some() {
            queue_restore_jobs(connection, layout, &peer_writes).await?;
        }
        self.queue_events(connection, layout, &peer_writes).await?;
        Ok(Waited::Saved(saved))
    }

    /// Queues the event to pass on, and that of a state that is saved. A drop was saved when the report
    /// turned out to be out of order.
    async fn queue_events(
        &self,
        connection: &mut PgConnection,
        layout: Layout,
        peer_writes: &[PeerWrite],
    ) -> Result<(), sqlx::Error> {
        let states = match self.own_events {
            Some(own_events) => own_events.announce(connection, layout, peer_writes).await?,
            None => Vec::new(),
        };
        let forwards: Vec<&NewForward> = self.report.forward().into_iter().chain(&states).collect();
        queue_forwards(connection, &forwards).await
    }

    /// The row that holds the observation of the report, or where it is none of its own, the
    /// current one.
    fn saved(
        &self,
        stored: &[Row],
        changes: &RowChanges,
        current: Option<Snapshot>,
    ) -> Option<Saved> {
        let observation = self.report.observation();
        let holds = |row: &&Row| {
            observation.as_ref().is_some_and(|observation| {
                let Row { snapshot, repeats } = row;
                let at = observation.observed_at;
                let ends = [snapshot.first_observed_at, snapshot.last_observed_at];
                snapshot.metadata == observation.metadata
                    && (ends.contains(&at) || repeats.contains(&at))
            })
        };
        let updated = changes.updated.iter().map(|(_, row)| row);
        let added = changes.added.iter();
        let is_added = |row: &Row| {
            changes.added.contains(row)
                && row.snapshot.first_observed_at == row.snapshot.last_observed_at
        };
        updated
            .chain(added)
            .chain(stored)
            .find(holds)
            .map(|row| Saved {
                snapshot: row.snapshot.clone(),
                changed: is_added(row),
            })
            .or(current.map(|snapshot| Saved {
                snapshot,
                changed: false,
            }))
    }
}

/// Whether the report lies within the rows that are known.
fn reaches(rows: &[Row], complete: bool, report: &Report) -> bool {
    let Some(observation) = report.observation() else {
        return true;
    };
    complete
        || rows
            .first()
            .is_some_and(|row| row.snapshot.first_observed_at < observation.observed_at)
}

/// A row of its own, for an observation that is older than the rows that were read.
fn lone_row(report: &Report) -> RowChanges {
    let row = |observation: &crate::domain::Observation| Row::new(Snapshot::first(observation));
    let observation = report.observation();
    RowChanges {
        added: observation
            .iter()
            .map(|observation| row(observation))
            .collect(),
        ..RowChanges::default()
    }
}

async fn lock_peer(connection: &mut PgConnection, key: &PeerKey) -> Result<(), sqlx::Error> {
    query_scalar!(
        "SELECT version FROM peers WHERE user_id = $1 AND room_id = $2 AND peer_id = $3 FOR UPDATE",
        key.user_id.as_str(),
        key.room_id.as_str(),
        key.peer_id.as_str()
    )
    .fetch_optional(connection)
    .await?;
    Ok(())
}

/// The newest rows of a peer, oldest first, and whether there are no others.
async fn read_rows(
    connection: &mut PgConnection,
    key: &PeerKey,
) -> Result<(Vec<Row>, bool), sqlx::Error> {
    let found = query_file!(
        "src/store/queries/read_rows.sql",
        key.user_id.as_str(),
        key.room_id.as_str(),
        key.peer_id.as_str()
    )
    .fetch_all(connection)
    .await?;
    let count = found.first().map_or(0, |row| row.found);
    let mut history: Vec<Row> = Vec::with_capacity(found.len());
    for row in found {
        let snapshot = Snapshot {
            id: row.id,
            key: key.clone(),
            name: rows::label(row.name),
            role: rows::label(row.role),
            metadata: rows::metadata(row.metadata_raw)?,
            tracks: row.tracks.map(Tracks::from_canonical),
            joined_at: row.joined_at.map(Into::into),
            first_observed_at: row.first_observed_at.into(),
            last_observed_at: row.last_observed_at.into(),
            source: rows::source(&row.source)?,
        };
        let repeats = row.repeats.unwrap_or_default();
        history.push(Row {
            snapshot,
            repeats: repeats.into_iter().map(Into::into).collect(),
        });
    }
    history.reverse();
    let complete = usize::try_from(count).is_ok_and(|count| count == history.len())
        && history.len() <= MAX_ROWS;
    Ok((history, complete))
}

async fn change_rows(
    connection: &mut PgConnection,
    layout: Layout,
    key: &PeerKey,
    changes: &RowChanges,
) -> Result<(), sqlx::Error> {
    let removed_at: Vec<DateTime<Utc>> =
        changes.removed.iter().map(|(at, _)| at.to_utc()).collect();
    let removed: Vec<Uuid> = changes.removed.iter().map(|(_, id)| *id).collect();
    let stored_at: Vec<DateTime<Utc>> = changes.updated.iter().map(|(at, _)| at.to_utc()).collect();
    let (mut updated, mut added) = (RowColumns::default(), RowColumns::default());
    changes
        .updated
        .iter()
        .for_each(|(_, row)| updated.push(row));
    changes.added.iter().for_each(|row| added.push(row));
    if layout == Layout::Distributed {
        let user_id = key.user_id.as_str();
        query_file!(
            "src/store/queries/one_user/remove_rows.sql",
            user_id,
            &removed_at,
            &removed
        )
        .execute(&mut *connection)
        .await?;
        for (index, stored_at) in stored_at.into_iter().enumerate() {
            update_row(connection, user_id, stored_at, &updated, index).await?;
        }
        for (index, repeats) in added.repeats.iter().enumerate() {
            let tracks = added.snapshots.tracks[index];
            add_row(
                connection,
                &added.snapshots,
                index,
                tracks,
                repeats.as_deref(),
            )
            .await?;
        }
        return Ok(());
    }
    query_file!(
        "src/store/queries/change_rows.sql",
        key.user_id.as_str(),
        &removed_at,
        &removed,
        &stored_at,
        &updated.snapshots.id,
        &updated.snapshots.source as &[&str],
        &updated.snapshots.name as &[Option<&str>],
        &updated.snapshots.role as &[Option<&str>],
        &updated.snapshots.tracks as &[Option<&str>],
        &updated.snapshots.first_observed_at,
        &updated.snapshots.last_observed_at,
        &updated.repeats as &[Option<String>],
        &added.snapshots.room_id as &[&str],
        &added.snapshots.peer_id as &[&str],
        &added.snapshots.id,
        &added.snapshots.source as &[&str],
        &added.snapshots.metadata_raw as &[Option<&[u8]>],
        &added.snapshots.name as &[Option<&str>],
        &added.snapshots.role as &[Option<&str>],
        &added.snapshots.tracks as &[Option<&str>],
        &added.snapshots.joined_at as &[Option<DateTime<Utc>>],
        &added.snapshots.first_observed_at,
        &added.snapshots.last_observed_at,
        &added.repeats as &[Option<String>]
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn update_row(
    connection: &mut PgConnection,
    user_id: &str,
    stored_at: DateTime<Utc>,
    updated: &RowColumns<'_>,
    index: usize,
) -> Result<(), sqlx::Error> {
    let snapshots = &updated.snapshots;
    query_file!(
        "src/store/queries/one_user/update_row.sql",
        user_id,
        stored_at,
        snapshots.id[index],
        snapshots.source[index],
        snapshots.name[index],
        snapshots.role[index],
        snapshots.tracks[index],
        snapshots.first_observed_at[index],
        snapshots.last_observed_at[index],
        updated.repeats[index].as_deref()
    )
    .execute(connection)
    .await?;
    Ok(())
}
