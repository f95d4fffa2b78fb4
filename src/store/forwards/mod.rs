//! Events that are passed on: queued in the transaction that saves what they say, taken by one
//! replica at a time, and gone once they are accepted; [`list`] shows those that are not. All times
//! are Postgres's.

mod list;

use std::time::Duration;

use bytes::Bytes;
use sqlx::{PgConnection, query_file, query_file_scalar, query_scalar};
use uuid::Uuid;

use crate::domain::{Forward, ForwardHeader, ForwardResult, NewForward, RoomId, UserId};
use crate::store::connections::{Statement, begin_with};
use crate::store::watches::seconds;
use crate::store::{Store, StoreError, rows};

/// How long an event may fail before it is dead.
const PATIENCE: Duration = Duration::from_hours(24);
/// How many attempts it has had then, where none came to an end. The pauses allow fewer in that time.
const UNENDED_ATTEMPTS: i32 = 50;
/// How long the first event of a room may fail before others go first, if the endpoint accepts
/// others.
const ASIDE_AFTER: Duration = Duration::from_mins(1);
/// The same where it accepts none: it is down, most likely.
const ASIDE_AFTER_OUTAGE: Duration = Duration::from_mins(15);
/// After so long without an event that it accepts, an endpoint that accepts one is back.
const OUTAGE: Duration = Duration::from_mins(1);
/// How long dead events are kept.
const KEPT_DEAD: Duration = Duration::from_hours(7 * 24);
/// How many dead events are deleted in one statement.
const MAX_DELETED: i64 = 1_000;
/// Replicas take events one after another. That takes each of them a moment.
const SET_LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '1s'";
/// The key of the advisory lock for that: `forwards` in ASCII.
const LOCK: i64 = 0x666f_7277_6172_6473;

/// What came of looking for events that are due.
#[derive(Debug, Default)]
pub struct TakenForwards {
    /// Those to send.
    pub forwards: Vec<Forward>,
    /// Those that are dead now, since no attempt at them came to an end.
    pub dead: Vec<Uuid>,
}

impl Store {
    /// Queues an event that is only passed on. It is durable when this returns.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn queue_forward(&self, forward: NewForward) -> Result<(), StoreError> {
        self.forwards.execute(QueueForward(forward)).await
    }

    /// Takes up to `limit` events that are due. Nobody else gets them, nor another event of their
    /// rooms, before the lease ends.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn take_forwards(
        &self,
        limit: u16,
        lease: Duration,
    ) -> Result<TakenForwards, StoreError> {
        self.background.execute(TakeForwards { limit, lease }).await
    }

    /// Ends attempts, and returns the events that are dead with them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn settle_forwards(
        &self,
        results: Vec<ForwardResult>,
    ) -> Result<Vec<Uuid>, StoreError> {
        self.background.execute(SettleForwards(results)).await
    }

    /// How many events wait.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn count_forwards(&self) -> Result<i64, StoreError> {
        self.background.execute(CountForwards).await
    }

    /// Deletes events that have been dead for a week, and returns how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_dead_forwards(&self) -> Result<u64, StoreError> {
        self.background.execute(DeleteDeadForwards).await
    }
}

/// Queues events in the transaction that the connection is in, if it is in one.
pub(super) async fn queue_forwards(
    connection: &mut PgConnection,
    forwards: &[&NewForward],
) -> Result<(), sqlx::Error> {
    if forwards.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = forwards.iter().map(|forward| forward.id).collect();
    let room_ids: Vec<&str> = forwards
        .iter()
        .map(|forward| forward.room_id.as_ref().map_or("", RoomId::as_str))
        .collect();
    let user_ids: Vec<Option<&str>> = forwards
        .iter()
        .map(|forward| forward.user_id.as_ref().map(UserId::as_str))
        .collect();
    let headers: Vec<String> = forwards
        .iter()
        .map(|forward| to_json(&forward.headers))
        .collect();
    let bodies: Vec<&[u8]> = forwards.iter().map(|forward| &*forward.body).collect();
    query_file!(
        "src/store/queries/queue_forwards.sql",
        &ids,
        &room_ids as &[&str],
        &user_ids as &[Option<&str>],
        &headers,
        &bodies as &[&[u8]]
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Headers as JSON: each character of a value is a byte, since not all values are UTF-8.
fn to_json(headers: &[ForwardHeader]) -> String {
    let pairs = headers.iter().map(|(name, value)| {
        let value: String = value.iter().copied().map(char::from).collect();
        serde_json::json!([name, value])
    });
    pairs.collect::<serde_json::Value>().to_string()
}

fn from_json(json: &str) -> Result<Vec<ForwardHeader>, sqlx::Error> {
    let pairs: Vec<(String, String)> = serde_json::from_str(json).map_err(rows::corrupt)?;
    let headers = pairs.into_iter().map(|(name, value)| {
        let bytes = value.chars().map(u8::try_from);
        Ok((
            name,
            bytes.collect::<Result<_, _>>().map_err(rows::corrupt)?,
        ))
    });
    headers.collect()
}

/// Queues one event in a statement of its own.
pub(super) struct QueueForward(pub(super) NewForward);

impl Statement for QueueForward {
    type Output = ();

    async fn run(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        queue_forwards(connection, &[&self.0]).await
    }
}

struct TakeForwards {
    limit: u16,
    lease: Duration,
}

impl Statement for TakeForwards {
    type Output = TakenForwards;

    async fn run(&self, connection: &mut PgConnection) -> Result<TakenForwards, sqlx::Error> {
        let mut transaction = begin_with(connection, SET_LOCK_TIMEOUT).await?;
        query_scalar!("SELECT pg_advisory_xact_lock($1)", LOCK)
            .fetch_one(&mut *transaction)
            .await?;
        let forward_rows = query_file!(
            "src/store/queries/take_forwards.sql",
            i64::from(self.limit),
            self.lease.as_secs_f64(),
            PATIENCE.as_secs_f64(),
            UNENDED_ATTEMPTS
        )
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;
        let (dead, taken) = forward_rows
            .into_iter()
            .partition::<Vec<_>, _>(|row| row.is_over);
        let forwards = taken.into_iter().map(|row| {
            let room_id = Some(row.room_id).filter(|room_id| !room_id.is_empty());
            let room_id = room_id.map(|room_id| RoomId::parse(&room_id));
            let user_id = row.user_id.map(|user_id| UserId::parse(&user_id));
            Ok(Forward {
                event: NewForward {
                    id: row.id,
                    room_id: room_id.transpose().map_err(rows::corrupt)?,
                    user_id: user_id.transpose().map_err(rows::corrupt)?,
                    headers: from_json(&row.headers)?,
                    body: Bytes::from(row.body),
                },
                attempt: row.attempts,
                age: seconds(row.age_seconds),
            })
        });
        Ok(TakenForwards {
            forwards: forwards
                .filter_map(|forward| rows::readable(forward, "forwards"))
                .collect(),
            dead: dead.into_iter().map(|row| row.id).collect(),
        })
    }
}

struct SettleForwards(Vec<ForwardResult>);

impl Statement for SettleForwards {
    type Output = Vec<Uuid>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Vec<Uuid>, sqlx::Error> {
        let results = || self.0.iter();
        let ids: Vec<Uuid> = results().map(|result| result.id).collect();
        let attempts: Vec<i32> = results().map(|result| result.attempt).collect();
        let errors: Vec<Option<&str>> = results().map(|result| result.error.as_deref()).collect();
        let pauses: Vec<Option<f64>> = results()
            .map(|result| result.pause.map(|pause| pause.as_secs_f64()))
            .collect();
        query_file_scalar!(
            "src/store/queries/settle_forwards.sql",
            &ids,
            &attempts,
            &errors as &[Option<&str>],
            &pauses as &[Option<f64>],
            PATIENCE.as_secs_f64(),
            ASIDE_AFTER.as_secs_f64(),
            ASIDE_AFTER_OUTAGE.as_secs_f64(),
            OUTAGE.as_secs_f64()
        )
        .fetch_all(connection)
        .await
    }
}

struct CountForwards;

impl Statement for CountForwards {
    type Output = i64;

    async fn run(&self, connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
        query_file_scalar!("src/store/queries/count_forwards.sql")
            .fetch_one(connection)
            .await
    }
}

struct DeleteDeadForwards;

impl Statement for DeleteDeadForwards {
    type Output = u64;

    async fn run(&self, connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
        let deleted = query_file!(
            "src/store/queries/delete_dead_forwards.sql",
            KEPT_DEAD.as_secs_f64(),
            MAX_DELETED
        )
        .execute(connection)
        .await?;
        Ok(deleted.rows_affected())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_keep_every_byte() {
        let every_byte = (0x20..=0xff).filter(|byte| *byte != 0x7f).collect();
        let headers = vec![
            ("x-a".to_owned(), every_byte),
            ("x-a".to_owned(), b"\"\\".to_vec()),
        ];
        assert_eq!(from_json(&to_json(&headers)).unwrap(), headers);
    }
}
