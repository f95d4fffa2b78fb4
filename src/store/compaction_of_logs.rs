//! Compaction of what is only written to: ends of sessions, the log of restores and claims, and
//! reconciliations.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, query, query_file};
use uuid::Uuid;

use super::compaction::{CompactionStep, GRACE};
use super::connections::Statement;
use super::{Store, StoreError};
use crate::domain::MIN_KEEP_PEERS;

/// How many rows are looked at in one statement.
const MAX_ROWS: i32 = 500;
/// How long a finished reconciliation is kept.
const KEEP_RECONCILIATIONS: Duration = Duration::from_hours(365 * 24);

/// How far the compaction of ends of sessions has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionEndPosition {
    room_id: String,
    session_id: String,
}

/// How far the compaction of the log of restores and claims has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumePosition {
    at: DateTime<Utc>,
    user_id: String,
    id: Uuid,
}

impl Store {
    /// Deletes ends of sessions that are older than `keep` and that ended no peer that is left: of
    /// those after `position`, a limited number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn compact_session_ends(
        &self,
        keep: Duration,
        position: Option<SessionEndPosition>,
    ) -> Result<CompactionStep<SessionEndPosition>, StoreError> {
        let keep = keep.max(MIN_KEEP_PEERS) + GRACE;
        let compact = CompactSessionEnds { keep, position };
        self.background.execute(compact).await
    }

    /// Deletes restores and claims that are older than `keep` and 90 days, but for claims of states
    /// that are left: of those after `position`, a limited number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn compact_resumes(
        &self,
        keep: Duration,
        position: Option<ResumePosition>,
    ) -> Result<CompactionStep<ResumePosition>, StoreError> {
        let keep = keep + GRACE;
        let compact = CompactResumes { keep, position };
        self.background.execute(compact).await
    }

    /// Deletes reconciliations that were finished a year ago, and returns how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_old_reconciliations(&self) -> Result<u64, StoreError> {
        self.background.execute(DeleteOldReconciliations).await
    }
}

struct CompactSessionEnds {
    keep: Duration,
    position: Option<SessionEndPosition>,
}

impl Statement for CompactSessionEnds {
    type Output = CompactionStep<SessionEndPosition>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Output, sqlx::Error> {
        let after = self.position.as_ref();
        let step = query_file!(
            "src/store/queries/compact_session_ends.sql",
            self.keep.as_secs_f64(),
            after.map_or("", |after| &after.room_id),
            after.map_or("", |after| &after.session_id),
            i64::from(MAX_ROWS)
        );
        let step = step.fetch_one(connection).await?;
        let last = step.room_id.zip(step.session_id);
        Ok(CompactionStep {
            deleted: step.deleted.unsigned_abs(),
            position: last.map(|(room_id, session_id)| SessionEndPosition {
                room_id,
                session_id,
            }),
        })
    }

    /// Citus refuses the statement: they are kept there.
    async fn run_distributed(&self, _: &mut PgConnection) -> Result<Self::Output, sqlx::Error> {
        Ok(CompactionStep::NOTHING)
    }
}

struct CompactResumes {
    keep: Duration,
    position: Option<ResumePosition>,
}

impl Statement for CompactResumes {
    type Output = CompactionStep<ResumePosition>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Output, sqlx::Error> {
        let after = self.position.as_ref();
        let step = query!(
            r#"SELECT deleted AS "deleted!", last_at, last_user_id, last_id
               FROM rejoin_delete_old_resumes(make_interval(secs => $1), $2, $3, $4, $5)"#,
            self.keep.as_secs_f64(),
            after.map_or(DateTime::UNIX_EPOCH, |after| after.at),
            after.map_or("", |after| &after.user_id),
            after.map_or(Uuid::nil(), |after| after.id),
            MAX_ROWS
        );
        let step = step.fetch_one(connection).await?;
        let position = match (step.last_at, step.last_user_id, step.last_id) {
            (Some(at), Some(user_id), Some(id)) => Some(ResumePosition { at, user_id, id }),
            _ => None,
        };
        Ok(CompactionStep {
            deleted: step.deleted.unsigned_abs(),
            position,
        })
    }

    /// Citus refuses the statement: they are kept there.
    async fn run_distributed(&self, _: &mut PgConnection) -> Result<Self::Output, sqlx::Error> {
        Ok(CompactionStep::NOTHING)
    }
}

struct DeleteOldReconciliations;

impl Statement for DeleteOldReconciliations {
    type Output = u64;

    async fn run(&self, connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
        let deleted = query!(
            "DELETE FROM reconciliations WHERE finished_at < now() - make_interval(secs => $1)",
            KEEP_RECONCILIATIONS.as_secs_f64()
        );
        Ok(deleted.execute(connection).await?.rows_affected())
    }
}
