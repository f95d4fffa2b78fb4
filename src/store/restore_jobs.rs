//! The queue of automatic restores. A join adds a job, and one worker at a time has it on lease.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, query_file, query_file_scalar};

use super::connections::Statement;
use super::save::PeerWrite;
use super::{Layout, Store, StoreError, rows};
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
        self.background.execute(take_jobs).await
    }

    /// Puts a job back until `due`, if its lease was not taken over. With `wakeable`, a leave of the
    /// user makes it due at once; so does one that was reported since the job was taken.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn postpone_restore_job(
        &self,
        job: &RestoreJob,
        due: Timestamp,
        wakeable: bool,
    ) -> Result<(), StoreError> {
        let postpone_job = PostponeJob {
            job: job.clone(),
            due,
            wakeable,
        };
        self.background.execute(postpone_job).await
    }
}

/// Queues the restores that these writes request, of users who have a saved state, or another peer
/// of which one may still be reported.
pub(super) async fn queue_restore_jobs(
    connection: &mut PgConnection,
    layout: Layout,
    peer_writes: &[PeerWrite],
) -> Result<(), sqlx::Error> {
    if layout == Layout::Distributed {
        return queue_one_by_one(connection, peer_writes).await;
    }
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

/// The same, with statements that name one user.
async fn queue_one_by_one(
    connection: &mut PgConnection,
    peer_writes: &[PeerWrite],
) -> Result<(), sqlx::Error> {
    for peer_write in peer_writes {
        let Some(at) = peer_write.restore_requested_at else {
            continue;
        };
        let key = &peer_write.key;
        let (user_id, room_id, peer_id) = (
            key.user_id.as_str(),
            key.room_id.as_str(),
            key.peer_id.as_str(),
        );
        let has = query_file_scalar!(
            "src/store/queries/one_user/has_state_or_other_peer.sql",
            user_id,
            room_id,
            peer_id
        );
        if !has.fetch_one(&mut *connection).await? {
            continue;
        }
        query_file!(
            "src/store/queries/one_user/queue_restore_job.sql",
            user_id,
            room_id,
            peer_id,
            at.to_utc()
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Makes the jobs due that wait for an event of these users: a leave of theirs is being saved.
pub(super) async fn wake_restore_jobs(
    connection: &mut PgConnection,
    user_ids: &[&str],
) -> Result<(), sqlx::Error> {
    query_file!(
        "src/store/queries/wake_restore_jobs.sql",
        user_ids as &[&str]
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
        Ok(job_rows
            .into_iter()
            .filter_map(|row| {
                let key = rows::key(&row.user_id, &row.room_id, &row.peer_id);
                Some(RestoreJob {
                    key: rows::readable(key, "restore_jobs")?,
                    queued_at: row.queued_at.into(),
                    attempts: row.attempts,
                    wakes: row.wakes,
                    not_found_since: row.not_found_since.map(Into::into),
                    ghost_checks: row.ghost_checks,
                })
            })
            .collect())
    }
}

struct PostponeJob {
    job: RestoreJob,
    due: Timestamp,
    wakeable: bool,
}

impl Statement for PostponeJob {
    type Output = ();

    async fn run(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        query_file!(
            "src/store/queries/postpone_restore_job.sql",
            self.job.key.user_id.as_str(),
            self.job.key.room_id.as_str(),
            self.job.key.peer_id.as_str(),
            self.job.attempts,
            self.due.to_utc(),
            self.wakeable,
            self.job.wakes,
            self.job.not_found_since.map(Timestamp::to_utc),
            self.job.ghost_checks
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}
