//! The queue of automatic restores. A join adds a job, and one worker at a time has it on lease.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, query, query_file};

use super::connections::Statement;
use super::save::PeerWrite;
use super::{Store, StoreError, rows};
use crate::domain::{RestoreJob, Timestamp};

impl Store {
    /// Takes up to `limit` restore jobs that are due. Nobody else gets them before `until`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn take_restore_jobs(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: u16,
    ) -> Result<Vec<RestoreJob>, StoreError> {
        let take_jobs = TakeJobs { now, until, limit };
        self.others.execute(take_jobs).await
    }

    /// Postpones a job to `due`, if its lease was not taken over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn postpone_restore_job(
        &self,
        job: &RestoreJob,
        due: Timestamp,
    ) -> Result<(), StoreError> {
        let job = job.clone();
        self.others.execute(PostponeJob { job, due }).await
    }

    /// Deletes a job, if its lease was not taken over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn finish_restore_job(&self, job: &RestoreJob) -> Result<(), StoreError> {
        self.others.execute(FinishJob { job: job.clone() }).await
    }
}

/// Queues the restores that these writes request, of users who have a saved state, or another peer
/// of which one may still be reported.
pub(super) async fn queue_restore_jobs(
    connection: &mut PgConnection,
    peer_writes: &[PeerWrite],
) -> Result<(), sqlx::Error> {
    let mut user_ids: Vec<&str> = Vec::new();
    let mut room_ids: Vec<&str> = Vec::new();
    let mut peer_ids: Vec<&str> = Vec::new();
    let mut requested_at: Vec<DateTime<Utc>> = Vec::new();
    for peer_write in peer_writes {
        if let Some(at) = peer_write.restore_requested_at {
            user_ids.push(peer_write.key.user_id.as_str());
            room_ids.push(peer_write.key.room_id.as_str());
            peer_ids.push(peer_write.key.peer_id.as_str());
            requested_at.push(at.to_utc());
        }
    }
    query_file!(
        "src/store/queries/queue_restore_jobs.sql",
        &user_ids as &[&str],
        &room_ids as &[&str],
        &peer_ids as &[&str],
        &requested_at
    )
    .execute(connection)
    .await?;
    Ok(())
}

struct TakeJobs {
    now: Timestamp,
    until: Timestamp,
    limit: u16,
}

impl Statement for TakeJobs {
    type Output = Vec<RestoreJob>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Vec<RestoreJob>, sqlx::Error> {
        let job_rows = query_file!(
            "src/store/queries/take_restore_jobs.sql",
            self.now.to_utc(),
            self.until.to_utc(),
            i64::from(self.limit)
        )
        .fetch_all(connection)
        .await?;
        job_rows
            .into_iter()
            .map(|row| {
                Ok(RestoreJob {
                    key: rows::key(&row.user_id, &row.room_id, &row.peer_id)?,
                    queued_at: row.queued_at.into(),
                    attempts: row.attempts,
                })
            })
            .collect()
    }
}

struct PostponeJob {
    job: RestoreJob,
    due: Timestamp,
}

impl Statement for PostponeJob {
    type Output = ();

    async fn run(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        query!(
            "UPDATE restore_jobs SET due_at = $5
             WHERE user_id = $1 AND room_id = $2 AND peer_id = $3 AND attempts = $4",
            self.job.key.user_id.as_str(),
            self.job.key.room_id.as_str(),
            self.job.key.peer_id.as_str(),
            self.job.attempts,
            self.due.to_utc()
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}

struct FinishJob {
    job: RestoreJob,
}

impl Statement for FinishJob {
    type Output = ();

    async fn run(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        query!(
            "DELETE FROM restore_jobs
             WHERE user_id = $1 AND room_id = $2 AND peer_id = $3 AND attempts = $4",
            self.job.key.user_id.as_str(),
            self.job.key.room_id.as_str(),
            self.job.key.peer_id.as_str(),
            self.job.attempts
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}
