//! Watches: the rooms that are looked at regularly; [`looks`] has the looks at them. All times are
//! Postgres's, so that replicas whose clocks differ share one schedule.

mod looks;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, query, query_file, query_file_as};

pub use self::looks::{LookResult, WatchCounts};
use super::connections::Statement;
use super::{Store, StoreError, rows};
use crate::domain::{LastLook, LookOutcome, RoomId, Timestamp, Watch, WatchInterval, WatchState};

/// A watch that somebody asks for.
#[derive(Debug, Clone)]
pub struct NewWatch {
    /// The room.
    pub room_id: RoomId,
    /// How often to look at it.
    pub every: WatchInterval,
    /// When the watch ends, at the latest.
    pub until: Option<Timestamp>,
    /// The name of the API key.
    pub requested_by: Option<Arc<str>>,
}

/// Which page of the watches.
#[derive(Debug, Clone)]
pub enum WatchPage {
    /// By room, those after this one; none for the first.
    ByRoom(Option<String>),
    /// The latest look first, those after this scheduled look; none for the first.
    ByLateness(Option<(Timestamp, String)>),
}

impl Store {
    /// Begins a watch, or changes the one that there is. Returns it, and whether it is new.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put_watch(&self, watch: NewWatch) -> Result<(Watch, bool), StoreError> {
        self.histories.execute(PutWatch(watch)).await
    }

    /// The watch of a room.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn watch(&self, room_id: &RoomId) -> Result<Option<Watch>, StoreError> {
        self.histories.execute(GetWatch(room_id.clone())).await
    }

    /// Ends the watch of a room; false where there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_watch(&self, room_id: &RoomId) -> Result<bool, StoreError> {
        self.histories.execute(DeleteWatch(room_id.clone())).await
    }

    /// A page of at most `limit` watches.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn watches(&self, page: WatchPage, limit: u16) -> Result<Vec<Watch>, StoreError> {
        self.histories.execute(ListWatches { page, limit }).await
    }
}

struct WatchRow {
    room_id: String,
    every_millis: i64,
    until: Option<DateTime<Utc>>,
    requested_by: Option<String>,
    automatic: bool,
    started_at: DateTime<Utc>,
    next_look_at: DateTime<Utc>,
    looking: bool,
    late_seconds: f64,
    last_look_at: Option<DateTime<Utc>>,
    last_outcome: Option<String>,
    last_peers: Option<i32>,
    last_changes: Option<i32>,
}

impl WatchRow {
    fn into_watch(self) -> Result<Watch, sqlx::Error> {
        let every = u64::try_from(self.every_millis).ok();
        let every = every.and_then(|millis| WatchInterval::new(Duration::from_millis(millis)));
        let every = every.ok_or_else(|| rows::corrupt("a bad interval"))?;
        let late_by = seconds(self.late_seconds);
        Ok(Watch {
            room_id: RoomId::parse(&self.room_id).map_err(rows::corrupt)?,
            every,
            until: self.until.map(Into::into),
            requested_by: self.requested_by.map(Into::into),
            automatic: self.automatic,
            started_at: self.started_at.into(),
            state: WatchState::of(self.looking, late_by, every),
            next_look_at: self.next_look_at.into(),
            late_by,
            last_look: last_look(
                self.last_look_at,
                self.last_outcome.as_deref(),
                self.last_peers,
                self.last_changes,
            )?,
        })
    }
}

fn last_look(
    at: Option<DateTime<Utc>>,
    outcome: Option<&str>,
    peers: Option<i32>,
    changes: Option<i32>,
) -> Result<Option<LastLook>, sqlx::Error> {
    let (Some(at), Some(outcome)) = (at, outcome) else {
        return Ok(None);
    };
    let count = |count: Option<i32>| u32::try_from(count.unwrap_or_default()).unwrap_or_default();
    Ok(Some(LastLook {
        at: at.into(),
        outcome: LookOutcome::parse(outcome).ok_or_else(|| rows::corrupt("unknown outcome"))?,
        peers: count(peers),
        changes: count(changes),
    }))
}

/// So many seconds; none of less than zero.
pub(super) fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

struct PutWatch(NewWatch);

impl Statement for PutWatch {
    type Output = (Watch, bool);

    async fn run(&self, connection: &mut PgConnection) -> Result<(Watch, bool), sqlx::Error> {
        let row = query_file!(
            "src/store/queries/put_watch.sql",
            self.0.room_id.as_str(),
            self.0.every.length().as_secs_f64(),
            self.0.until.map(Timestamp::to_utc),
            self.0.requested_by.as_deref()
        )
        .fetch_one(connection)
        .await?;
        let created = row.created;
        let watch = WatchRow {
            room_id: row.room_id,
            every_millis: row.every_millis,
            until: row.until,
            requested_by: row.requested_by,
            automatic: row.automatic,
            started_at: row.started_at,
            next_look_at: row.next_look_at,
            looking: row.looking,
            late_seconds: row.late_seconds,
            last_look_at: row.last_look_at,
            last_outcome: row.last_outcome,
            last_peers: row.last_peers,
            last_changes: row.last_changes,
        };
        Ok((watch.into_watch()?, created))
    }
}

struct GetWatch(RoomId);

impl Statement for GetWatch {
    type Output = Option<Watch>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Option<Watch>, sqlx::Error> {
        let row = query_file_as!(WatchRow, "src/store/queries/watch.sql", self.0.as_str())
            .fetch_optional(connection)
            .await?;
        row.map(WatchRow::into_watch).transpose()
    }
}

struct DeleteWatch(RoomId);

impl Statement for DeleteWatch {
    type Output = bool;

    async fn run(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let deleted = query!("DELETE FROM watches WHERE room_id = $1", self.0.as_str())
            .execute(connection)
            .await?;
        Ok(deleted.rows_affected() > 0)
    }
}

struct ListWatches {
    page: WatchPage,
    limit: u16,
}

impl Statement for ListWatches {
    type Output = Vec<Watch>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Vec<Watch>, sqlx::Error> {
        let limit = i64::from(self.limit);
        let watch_rows = match &self.page {
            WatchPage::ByRoom(after) => {
                let after = after.as_deref().unwrap_or_default();
                query_file_as!(
                    WatchRow,
                    "src/store/queries/watches_by_room.sql",
                    after,
                    limit
                )
                .fetch_all(connection)
                .await?
            }
            WatchPage::ByLateness(after) => {
                let at = after.as_ref().map(|(at, _)| at.to_utc());
                let room_id = after.as_ref().map_or("", |(_, room_id)| room_id.as_str());
                query_file_as!(
                    WatchRow,
                    "src/store/queries/watches_by_lateness.sql",
                    at,
                    room_id,
                    limit
                )
                .fetch_all(connection)
                .await?
            }
        };
        let watches = watch_rows.into_iter().map(WatchRow::into_watch);
        Ok(watches
            .filter_map(|watch| rows::readable(watch, "watches"))
            .collect())
    }
}
