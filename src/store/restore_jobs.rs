//! Restores and claims: the log of them, and the queue of those that joins cause.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, query, query_scalar};
use uuid::Uuid;

use super::connections::run;
use super::save::peer_write::Fold;
use super::{Store, StoreError, rows};
use crate::domain::{
    ChangeId, Claim, Claimant, PeerId, PeerKey, ProblemCode, Requester, RestoreJob, RestoreOutcome,
    ResumeRecord, RoomId, Timestamp, UserId,
};

/// Queues the restores that these folds want, of users who have a state, or another peer that may still tell one.
pub(super) async fn queue(
    connection: &mut PgConnection,
    folds: &[Fold],
) -> Result<(), sqlx::Error> {
    let wanted: Vec<(&PeerKey, DateTime<Utc>)> = folds
        .iter()
        .filter_map(|fold| Some((&fold.key, fold.wants_restore?.to_utc())))
        .collect();
    let users: Vec<&str> = wanted.iter().map(|(key, _)| key.user_id.as_str()).collect();
    let rooms: Vec<&str> = wanted.iter().map(|(key, _)| key.room_id.as_str()).collect();
    let peers: Vec<&str> = wanted.iter().map(|(key, _)| key.peer_id.as_str()).collect();
    let times: Vec<DateTime<Utc>> = wanted.iter().map(|(_, at)| *at).collect();
    query!(
        "INSERT INTO restore_jobs (user_id, room_id, peer_id, queued_at, due_at)
         SELECT q.user_id, q.room_id, q.peer_id, q.at, q.at
         FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) AS q(user_id, room_id, peer_id, at)
         WHERE EXISTS (
                 SELECT FROM peers
                 WHERE peers.user_id = q.user_id AND peers.metadata_changed_at IS NOT NULL)
            OR EXISTS (
                 SELECT FROM peers
                 WHERE peers.user_id = q.user_id AND peers.connected_since IS NOT NULL AND peers.ended_at IS NULL
                   AND (peers.room_id, peers.peer_id) <> (q.room_id, q.peer_id))
         ON CONFLICT (user_id, room_id, peer_id) DO NOTHING",
        &users as &[&str],
        &rooms as &[&str],
        &peers as &[&str],
        &times
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes up to `limit` jobs that are due, for as long as `until`: each is one worker's alone.
pub(super) async fn take(
    connection: &mut PgConnection,
    now: Timestamp,
    until: Timestamp,
    limit: i64,
) -> Result<Vec<RestoreJob>, sqlx::Error> {
    let taken = query!(
        "WITH due AS (
             SELECT user_id, room_id, peer_id FROM restore_jobs
             WHERE due_at <= $1 ORDER BY due_at LIMIT $3
             FOR UPDATE SKIP LOCKED
         )
         UPDATE restore_jobs AS job SET due_at = $2, attempts = job.attempts + 1
         FROM due
         WHERE job.user_id = due.user_id AND job.room_id = due.room_id AND job.peer_id = due.peer_id
         RETURNING job.user_id, job.room_id, job.peer_id, job.queued_at, job.attempts",
        now.to_utc(),
        until.to_utc(),
        limit
    )
    .fetch_all(connection)
    .await?;
    taken
        .into_iter()
        .map(|row| {
            let key = rows::key(&row.user_id, &row.room_id, &row.peer_id)?;
            Ok(RestoreJob {
                key,
                queued_at: row.queued_at.into(),
                attempts: row.attempts,
            })
        })
        .collect()
}

/// Puts a job back until `due`, if it is still its taker's.
pub(super) async fn put_back(
    connection: &mut PgConnection,
    job: &RestoreJob,
    due: Timestamp,
) -> Result<(), sqlx::Error> {
    query!(
        "UPDATE restore_jobs SET due_at = $5 WHERE user_id = $1 AND room_id = $2 AND peer_id = $3 AND attempts = $4",
        job.key.user_id.as_str(),
        job.key.room_id.as_str(),
        job.key.peer_id.as_str(),
        job.attempts,
        due.to_utc()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends a job, if it is still its taker's.
pub(super) async fn finish(
    connection: &mut PgConnection,
    job: &RestoreJob,
) -> Result<(), sqlx::Error> {
    query!(
        "DELETE FROM restore_jobs WHERE user_id = $1 AND room_id = $2 AND peer_id = $3 AND attempts = $4",
        job.key.user_id.as_str(),
        job.key.room_id.as_str(),
        job.key.peer_id.as_str(),
        job.attempts
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Claims the record's state for `claimant`, and says whose it is now: theirs, or that of whoever was first.
///
/// The claim is the row itself, which a unique index lets in once; so this may run twice.
pub(super) async fn claim(
    connection: &mut PgConnection,
    id: Uuid,
    record: &ResumeRecord,
    claimant: &Claimant,
) -> Result<Claim, sqlx::Error> {
    add(
        &mut *connection,
        id,
        record,
        Some(claimant),
        "claimed",
        None,
    )
    .await?;
    let standing = query!(
        r#"SELECT claimed_by AS "claimed_by!", at FROM resumes WHERE user_id = $1 AND change = $2 AND kind = 'claim'"#,
        record.state.key.user_id.as_str(),
        ChangeId::of_state(&record.state).as_uuid()
    )
    .fetch_one(connection)
    .await?;
    let claimed_by = Claimant::parse(&standing.claimed_by).map_err(rows::corrupt)?;
    Ok(Claim {
        claimed_by,
        claimed_at: standing.at.into(),
    })
}

/// Records what came of a restore.
pub(super) async fn record(
    connection: &mut PgConnection,
    id: Uuid,
    record: &ResumeRecord,
    outcome: RestoreOutcome,
) -> Result<(), sqlx::Error> {
    add(
        connection,
        id,
        record,
        None,
        outcome.as_str(),
        outcome.problem().map(ProblemCode::as_str),
    )
    .await
}

/// Adds a row, unless it is there already, or is the second claim of one change.
async fn add(
    connection: &mut PgConnection,
    id: Uuid,
    record: &ResumeRecord,
    claimant: Option<&Claimant>,
    outcome: &str,
    problem: Option<&str>,
) -> Result<(), sqlx::Error> {
    let ResumeRecord {
        at,
        state,
        to,
        requester,
    } = record;
    let (automatic, requested_by) = match requester {
        Requester::Join => (true, None),
        Requester::Key(name) => (false, name.as_deref()),
    };
    query!(
        "INSERT INTO resumes (user_id, id, kind, at, change, snapshot_id, from_room_id, from_peer_id, to_room_id,
                              to_peer_id, automatic, requested_by, claimed_by, dropped_at, outcome, problem)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
         ON CONFLICT DO NOTHING",
        state.key.user_id.as_str(),
        id,
        if claimant.is_some() { "claim" } else { "restore" },
        at.to_utc(),
        ChangeId::of_state(state).as_uuid(),
        state.snapshot_id,
        state.key.room_id.as_str(),
        state.key.peer_id.as_str(),
        to.as_ref().map(|to| to.room_id.as_str()),
        to.as_ref().map(|to| to.peer_id.as_str()),
        automatic,
        requested_by,
        claimant.map(Claimant::as_str),
        state.dropped_at().map(Timestamp::to_utc),
        outcome,
        problem
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether a state was ever sent to this peer.
pub(super) async fn was_restored_to(
    connection: &mut PgConnection,
    key: &PeerKey,
) -> Result<bool, sqlx::Error> {
    query_scalar!(
        r#"SELECT EXISTS (
               SELECT FROM peers
               WHERE user_id = $1 AND room_id = $2 AND peer_id = $3 AND restored_at IS NOT NULL) AS "restored!""#,
        key.user_id.as_str(),
        key.room_id.as_str(),
        key.peer_id.as_str()
    )
    .fetch_one(connection)
    .await
}

/// The room in which a user's peer was seen last.
pub(super) async fn room_of(
    connection: &mut PgConnection,
    user_id: &UserId,
    peer_id: &PeerId,
) -> Result<Option<RoomId>, sqlx::Error> {
    let room = query_scalar!(
        "SELECT room_id FROM peers WHERE user_id = $1 AND peer_id = $2 ORDER BY last_observed_at DESC LIMIT 1",
        user_id.as_str(),
        peer_id.as_str()
    )
    .fetch_optional(connection)
    .await?;
    room.map(|room| RoomId::parse(&room).map_err(rows::corrupt))
        .transpose()
}

impl Store {
    /// Takes up to `limit` restore jobs that are due. Who takes them has them alone until `until`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn take_restore_jobs(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: u16,
    ) -> Result<Vec<RestoreJob>, StoreError> {
        let database = self.database.clone();
        self.in_turn(async move {
            run!(database, connection => take(connection, now, until, limit.into()))
        })
        .await
    }

    /// Puts a job back until `due`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put_restore_job_back(
        &self,
        job: &RestoreJob,
        due: Timestamp,
    ) -> Result<(), StoreError> {
        let (database, job) = (self.database.clone(), job.clone());
        self.in_turn(async move { run!(database, connection => put_back(connection, &job, due)) })
            .await
    }

    /// Ends a job.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn finish_restore_job(&self, job: &RestoreJob) -> Result<(), StoreError> {
        let (database, job) = (self.database.clone(), job.clone());
        self.in_turn(async move { run!(database, connection => finish(connection, &job)) })
            .await
    }

    /// Claims the record's state, and says whose it is now: the claimant's, or that of whoever was first.
    ///
    /// # Errors
    /// [`StoreError`]; after `Unavailable` it may or may not have been claimed, and claiming it again is harmless.
    pub async fn claim(
        &self,
        entry: ResumeRecord,
        claimant: Claimant,
    ) -> Result<Claim, StoreError> {
        let (database, id) = (self.database.clone(), Uuid::now_v7());
        self.in_turn(async move {
            run!(database, connection => claim(connection, id, &entry, &claimant))
        })
        .await
    }

    /// Records what came of a restore.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn record_restore(
        &self,
        entry: ResumeRecord,
        outcome: RestoreOutcome,
    ) -> Result<(), StoreError> {
        let (database, id) = (self.database.clone(), Uuid::now_v7());
        self.in_turn(async move {
            run!(database, connection => record(connection, id, &entry, outcome))
        })
        .await
    }

    /// Whether a state was ever sent to this peer.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn was_restored_to(&self, key: &PeerKey) -> Result<bool, StoreError> {
        let (database, key) = (self.database.clone(), key.clone());
        self.in_turn(async move { run!(database, connection => was_restored_to(connection, &key)) })
            .await
    }

    /// The room in which a user's peer was seen last; none where it never was.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn room_of(
        &self,
        user_id: &UserId,
        peer_id: &PeerId,
    ) -> Result<Option<RoomId>, StoreError> {
        let (database, user_id, peer_id) =
            (self.database.clone(), user_id.clone(), peer_id.clone());
        self.in_turn(async move {
            run!(database, connection => room_of(connection, &user_id, &peer_id))
        })
        .await
    }
}
