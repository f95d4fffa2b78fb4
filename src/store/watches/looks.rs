//! The looks at watched rooms: which are due, who has them, and when the next ones are.

use std::time::Duration;

use sqlx::{Connection, PgConnection, query_file};

use super::seconds;
use crate::domain::{Look, LookOutcome, NewForward, RoomId, Timestamp, WatchInterval, WatchState};
use crate::store::connections::Statement;
use crate::store::forwards::queue_forwards;
use crate::store::{Store, StoreError, rows};

/// What is known of the schedule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WatchCounts {
    /// How many watches there are in each state.
    pub by_state: [(WatchState, i64); 3],
    /// By how much the latest look is late.
    pub late_by: Duration,
    /// How many fetch jobs there are.
    pub fetch_jobs: i64,
}

impl WatchCounts {
    /// Whether there is anything to do for a worker, now or later.
    pub fn is_empty(&self) -> bool {
        self.by_state.iter().all(|(_, count)| *count == 0)
    }
}

/// What a look found.
#[derive(Debug, Clone, Copy)]
pub struct LookResult {
    /// How it ended.
    pub outcome: LookOutcome,
    /// How many peers it saved.
    pub peers: u32,
    /// Of how many of them something had changed.
    pub changes: u32,
}

impl Store {
    /// Begins the watches of rooms that were active `at`, where they have none. Returns how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn start_watches(
        &self,
        room_ids: Vec<RoomId>,
        every: WatchInterval,
        at: Timestamp,
    ) -> Result<u64, StoreError> {
        let start_watches = StartWatches {
            room_ids,
            every,
            at,
            forward: None,
        };
        self.session_ends.execute(start_watches).await
    }

    /// Begins the watch of a room whose session began `at`, and with it queues the event to pass on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn start_watch(
        &self,
        room_id: RoomId,
        every: WatchInterval,
        at: Timestamp,
        forward: Option<NewForward>,
    ) -> Result<(), StoreError> {
        let start_watches = StartWatches {
            room_ids: vec![room_id],
            every,
            at,
            forward,
        };
        self.session_ends.execute(start_watches).await?;
        Ok(())
    }

    /// Takes at most `limit` rooms that are due, the latest first, for a lease.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn take_looks(&self, limit: u16, lease: Duration) -> Result<Vec<Look>, StoreError> {
        self.background.execute(TakeLooks { limit, lease }).await
    }

    /// Keeps a room for another lease; false where somebody else has it meanwhile, or its watch is
    /// over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn renew_look(&self, look: &Look, lease: Duration) -> Result<bool, StoreError> {
        let look = look.clone();
        self.background.execute(RenewLook { look, lease }).await
    }

    /// Ends a look and schedules the next one. Returns whether the watch ended with it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn finish_look(&self, look: &Look, result: LookResult) -> Result<bool, StoreError> {
        let look = look.clone();
        self.background.execute(FinishLook { look, result }).await
    }

    /// Gives a room back without a look, to be taken again after a pause.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn release_look(&self, look: &Look, pause: Duration) -> Result<(), StoreError> {
        let look = look.clone();
        self.background.execute(ReleaseLook { look, pause }).await
    }

    /// How many watches there are, and how late.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn count_watches(&self) -> Result<WatchCounts, StoreError> {
        self.background.execute(CountWatches).await
    }
}

struct StartWatches {
    room_ids: Vec<RoomId>,
    every: WatchInterval,
    at: Timestamp,
    forward: Option<NewForward>,
}

impl Statement for StartWatches {
    type Output = u64;

    async fn run(&self, connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
        let Some(forward) = &self.forward else {
            return self.start(connection).await;
        };
        let mut transaction = connection.begin().await?;
        let started = self.start(&mut transaction).await?;
        queue_forwards(&mut transaction, &[forward]).await?;
        transaction.commit().await?;
        Ok(started)
    }
}

impl StartWatches {
    async fn start(&self, connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
        let room_ids: Vec<&str> = self.room_ids.iter().map(RoomId::as_str).collect();
        let started = query_file!(
            "src/store/queries/start_watches.sql",
            &room_ids as &[&str],
            self.every.length().as_secs_f64(),
            self.at.to_utc()
        )
        .execute(connection)
        .await?;
        Ok(started.rows_affected())
    }
}

struct TakeLooks {
    limit: u16,
    lease: Duration,
}

impl Statement for TakeLooks {
    type Output = Vec<Look>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Vec<Look>, sqlx::Error> {
        let look_rows = query_file!(
            "src/store/queries/take_looks.sql",
            i64::from(self.limit),
            self.lease.as_secs_f64()
        )
        .fetch_all(connection)
        .await?;
        let looks = look_rows.into_iter().filter_map(|row| {
            let room_id = RoomId::parse(&row.room_id).map_err(rows::corrupt);
            Some(Look {
                room_id: rows::readable(room_id, "watches")?,
                number: row.looks,
            })
        });
        Ok(looks.collect())
    }
}

struct RenewLook {
    look: Look,
    lease: Duration,
}

impl Statement for RenewLook {
    type Output = bool;

    async fn run(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let renewed = query_file!(
            "src/store/queries/renew_look.sql",
            self.look.room_id.as_str(),
            self.look.number,
            self.lease.as_secs_f64()
        )
        .execute(connection)
        .await?;
        Ok(renewed.rows_affected() > 0)
    }
}

struct FinishLook {
    look: Look,
    result: LookResult,
}

impl Statement for FinishLook {
    type Output = bool;

    async fn run(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let count = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
        let row = query_file!(
            "src/store/queries/finish_look.sql",
            self.look.room_id.as_str(),
            self.look.number,
            self.result.outcome.as_str(),
            count(self.result.peers),
            count(self.result.changes),
            self.result.outcome.room_was_active()
        )
        .fetch_one(connection)
        .await?;
        Ok(row.ended)
    }
}

struct ReleaseLook {
    look: Look,
    pause: Duration,
}

impl Statement for ReleaseLook {
    type Output = ();

    async fn run(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        query_file!(
            "src/store/queries/release_look.sql",
            self.look.room_id.as_str(),
            self.look.number,
            self.pause.as_secs_f64()
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}

struct CountWatches;

impl Statement for CountWatches {
    type Output = WatchCounts;

    async fn run(&self, connection: &mut PgConnection) -> Result<WatchCounts, sqlx::Error> {
        let row = query_file!("src/store/queries/count_watches.sql")
            .fetch_one(connection)
            .await?;
        Ok(WatchCounts {
            by_state: [
                (WatchState::Waiting, row.waiting),
                (WatchState::Looking, row.looking),
                (WatchState::Late, row.late),
            ],
            late_by: seconds(row.late_seconds.unwrap_or_default()),
            fetch_jobs: row.fetch_jobs,
        })
    }
}
