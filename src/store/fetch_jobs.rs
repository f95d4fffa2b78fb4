//! The queue of single fetches that events make worth it, in rooms that are watched. Those events
//! are saved in the same transaction.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, query_file, query_file_scalar};

use super::connections::Statement;
use super::save::PeerWrite;
use super::watches::seconds;
use super::{Layout, Store, StoreError, rows};
use crate::domain::{
    EventKind, FetchJob, LookOutcome, PeerId, PeerKey, RoomId, UserId, WatchInterval, WatchRequest,
};

impl Store {
    /// Takes at most `limit` fetch jobs that are due, for a lease.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn take_fetch_jobs(
        &self,
        limit: u16,
        lease: Duration,
    ) -> Result<Vec<FetchJob>, StoreError> {
        self.background
            .execute(TakeFetchJobs { limit, lease })
            .await
    }

    /// Ends an attempt at a fetch job; with `retry_after`, there is another after it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn settle_fetch_job(
        &self,
        job: &FetchJob,
        outcome: LookOutcome,
        retry_after: Option<Duration>,
    ) -> Result<(), StoreError> {
        let settle_fetch_job = SettleFetchJob {
            job: job.clone(),
            outcome,
            retry_after,
        };
        self.background.execute(settle_fetch_job).await
    }
}

/// Begins the watches and queues the fetches that these writes ask for.
pub(super) async fn queue_fetch_jobs(
    connection: &mut PgConnection,
    layout: Layout,
    peer_writes: &[PeerWrite],
) -> Result<(), sqlx::Error> {
    let requests: Vec<(&PeerWrite, WatchRequest)> = peer_writes
        .iter()
        .flat_map(|peer_write| {
            let requests = peer_write.watch_requests.iter();
            requests.map(move |request| (peer_write, *request))
        })
        .collect();
    if requests.is_empty() {
        return Ok(());
    }
    let keys = || requests.iter().map(|(peer_write, _)| &peer_write.key);
    let user_ids: Vec<&str> = keys().map(|key| key.user_id.as_str()).collect();
    let room_ids: Vec<&str> = keys().map(|key| key.room_id.as_str()).collect();
    let peer_ids: Vec<&str> = keys().map(|key| key.peer_id.as_str()).collect();
    let requests = || requests.iter().map(|(_, request)| request);
    let at: Vec<DateTime<Utc>> = requests().map(|request| request.at.to_utc()).collect();
    let is_join: Vec<bool> = requests()
        .map(|request| request.kind == EventKind::Join)
        .collect();
    let every = requests().find_map(|request| request.starts);
    let every = every.map(|every: WatchInterval| every.length().as_secs_f64());
    if layout == Layout::Distributed {
        let has_other_peer = has_other_peer(connection, keys().zip(&is_join)).await?;
        query_file!(
            "src/store/queries/one_user/queue_fetch_jobs.sql",
            &user_ids as &[&str],
            &room_ids as &[&str],
            &peer_ids as &[&str],
            &at,
            &is_join,
            every,
            &has_other_peer
        )
        .execute(connection)
        .await?;
        return Ok(());
    }
    query_file!(
        "src/store/queries/queue_fetch_jobs.sql",
        &user_ids as &[&str],
        &room_ids as &[&str],
        &peer_ids as &[&str],
        &at,
        &is_join,
        every
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Of each of these joins, whether the user has another peer in the room; false of other events.
async fn has_other_peer(
    connection: &mut PgConnection,
    events: impl Iterator<Item = (&PeerKey, &bool)>,
) -> Result<Vec<bool>, sqlx::Error> {
    let mut has_other_peer = Vec::new();
    for (key, is_join) in events {
        let has_other = *is_join
            && query_file_scalar!(
                "src/store/queries/one_user/has_other_peer.sql",
                key.user_id.as_str(),
                key.room_id.as_str(),
                key.peer_id.as_str()
            )
            .fetch_one(&mut *connection)
            .await?;
        has_other_peer.push(has_other);
    }
    Ok(has_other_peer)
}

struct TakeFetchJobs {
    limit: u16,
    lease: Duration,
}

impl Statement for TakeFetchJobs {
    type Output = Vec<FetchJob>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Vec<FetchJob>, sqlx::Error> {
        let job_rows = query_file!(
            "src/store/queries/take_fetch_jobs.sql",
            i64::from(self.limit),
            self.lease.as_secs_f64()
        )
        .fetch_all(connection)
        .await?;
        let jobs = job_rows.into_iter().map(|row| {
            Ok(FetchJob {
                room_id: RoomId::parse(&row.room_id).map_err(rows::corrupt)?,
                user_id: UserId::parse(&row.user_id).map_err(rows::corrupt)?,
                peer_id: match row.peer_id.as_str() {
                    "" => None,
                    peer_id => Some(PeerId::parse(peer_id).map_err(rows::corrupt)?),
                },
                event_at: row.event_at.into(),
                attempts: row.attempts,
                age: seconds(row.age_seconds),
            })
        });
        Ok(jobs
            .filter_map(|job| rows::readable(job, "fetch_jobs"))
            .collect())
    }
}

struct SettleFetchJob {
    job: FetchJob,
    outcome: LookOutcome,
    retry_after: Option<Duration>,
}

impl Statement for SettleFetchJob {
    type Output = ();

    async fn run(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        query_file!(
            "src/store/queries/settle_fetch_job.sql",
            self.job.user_id.as_str(),
            self.job.room_id.as_str(),
            self.job.peer_id.as_ref().map_or("", PeerId::as_str),
            self.job.event_at.to_utc(),
            self.job.attempts,
            self.outcome.as_str(),
            self.retry_after.map(|pause| pause.as_secs_f64())
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}
