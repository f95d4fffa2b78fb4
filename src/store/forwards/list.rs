//! The events that were not passed on yet, for whoever looks after them.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, query_file, query_file_as, query_scalar};
use uuid::Uuid;

use crate::domain::{ForwardRecord, ForwardState, RoomId, UserId};
use crate::store::connections::Statement;
use crate::store::{Store, StoreError, rows};

/// How many dead events are made to wait again in one statement.
const MAX_RETRIED: i64 = 1_000;

impl Store {
    /// A page of at most `limit` events in this state, or in any, in the order in which they came:
    /// those after a position.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forwards(
        &self,
        after: i64,
        state: Option<ForwardState>,
        limit: u16,
    ) -> Result<Vec<ForwardRecord>, StoreError> {
        let list = ListForwards {
            after,
            state,
            limit,
        };
        self.histories.execute(list).await
    }

    /// Makes an event due now, also one that is dead. None where there is none: it may have been
    /// accepted.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn retry_forward(&self, id: Uuid) -> Result<Option<ForwardRecord>, StoreError> {
        self.histories.execute(RetryForward(id)).await
    }

    /// Makes all dead events wait again, and returns how many.
    ///
    /// # Errors
    /// [`StoreError`]; some of them may wait again.
    pub async fn retry_dead_forwards(&self) -> Result<u64, StoreError> {
        // What dies meanwhile is not tried again and again.
        let before = self.histories.execute(Now).await?;
        let mut retried = 0;
        loop {
            let more = self.histories.execute(RetryDeadForwards { before }).await?;
            retried += more;
            if more < MAX_RETRIED.unsigned_abs() {
                return Ok(retried);
            }
        }
    }
}

struct ForwardRow {
    position: i64,
    id: Uuid,
    room_id: String,
    user_id: Option<String>,
    received_at: DateTime<Utc>,
    state: String,
    attempts: i32,
    due_at: DateTime<Utc>,
    failing_since: Option<DateTime<Utc>>,
    last_error: Option<String>,
    dead_at: Option<DateTime<Utc>>,
}

impl ForwardRow {
    fn into_record(self) -> Result<ForwardRecord, sqlx::Error> {
        let room_id = Some(self.room_id).filter(|room_id| !room_id.is_empty());
        let room_id = room_id.map(|room_id| RoomId::parse(&room_id));
        let user_id = self.user_id.map(|user_id| UserId::parse(&user_id));
        let state = ForwardState::ALL.iter().copied();
        let mut state = state.filter(|state| state.as_str() == self.state);
        Ok(ForwardRecord {
            position: self.position,
            id: self.id,
            room_id: room_id.transpose().map_err(rows::corrupt)?,
            user_id: user_id.transpose().map_err(rows::corrupt)?,
            received_at: self.received_at.into(),
            state: state.next().ok_or_else(|| rows::corrupt("unknown state"))?,
            attempts: u32::try_from(self.attempts).map_err(rows::corrupt)?,
            due_at: self.due_at.into(),
            failing_since: self.failing_since.map(Into::into),
            last_error: self.last_error,
            dead_at: self.dead_at.map(Into::into),
        })
    }
}

struct ListForwards {
    after: i64,
    state: Option<ForwardState>,
    limit: u16,
}

impl Statement for ListForwards {
    type Output = Vec<ForwardRecord>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Vec<ForwardRecord>, sqlx::Error> {
        let forward_rows = query_file_as!(
            ForwardRow,
            "src/store/queries/forwards.sql",
            self.after,
            self.state.map(ForwardState::as_str),
            i64::from(self.limit)
        )
        .fetch_all(connection)
        .await?;
        let records = forward_rows.into_iter().map(ForwardRow::into_record);
        Ok(records
            .filter_map(|record| rows::readable(record, "forwards"))
            .collect())
    }
}

struct RetryForward(Uuid);

impl Statement for RetryForward {
    type Output = Option<ForwardRecord>;

    async fn run(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Option<ForwardRecord>, sqlx::Error> {
        let row = query_file_as!(ForwardRow, "src/store/queries/retry_forward.sql", self.0)
            .fetch_optional(connection)
            .await?;
        row.map(ForwardRow::into_record).transpose()
    }
}

/// Postgres's time.
struct Now;

impl Statement for Now {
    type Output = DateTime<Utc>;

    async fn run(&self, connection: &mut PgConnection) -> Result<DateTime<Utc>, sqlx::Error> {
        query_scalar!(
            r#"SELECT clock_timestamp() AS "now!" WHERE (SELECT rejoin_require_primary())"#
        )
        .fetch_one(connection)
        .await
    }
}

struct RetryDeadForwards {
    before: DateTime<Utc>,
}

impl Statement for RetryDeadForwards {
    type Output = u64;

    async fn run(&self, connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
        let retried = query_file!(
            "src/store/queries/retry_dead_forwards.sql",
            self.before,
            MAX_RETRIED
        )
        .execute(connection)
        .await?;
        Ok(retried.rows_affected())
    }
}
