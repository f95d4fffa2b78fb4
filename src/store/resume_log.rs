//! The log of restores and claims. A claim is its row in the log: a unique index admits only one
//! for each change.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, query_as, query_file};
use uuid::Uuid;

use super::connections::Statement;
use super::{Store, StoreError, rows};
use crate::domain::{
    ChangeId, Claim, Claimant, PeerKey, Requester, RestoreJob, RestoreOutcome, ResumeRecord,
    SavedState, Timestamp,
};

impl Store {
    /// Claims the saved state of `record`, and returns whose it is now: the claimant's, or that of
    /// whoever was first. None where the user was erased meanwhile.
    ///
    /// # Errors
    /// [`StoreError`]; after `Unavailable` it may have been claimed, and claiming it again is
    /// harmless.
    pub async fn claim(
        &self,
        record: ResumeRecord,
        claimant: Claimant,
    ) -> Result<Option<Claim>, StoreError> {
        self.restores.execute(ClaimState { record, claimant }).await
    }

    /// Writes the row of a restore: before the state is sent, and again with the outcome. A row that
    /// says that the state was restored stays.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn record_restore(
        &self,
        record: ResumeRecord,
        outcome: RestoreOutcome,
    ) -> Result<(), StoreError> {
        let record_restore = RecordRestore {
            record,
            outcome,
            job: None,
        };
        self.restores.execute(record_restore).await
    }

    /// Writes the row of an automatic restore, and deletes its job if its lease was not taken over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn finish_restore_job(
        &self,
        job: &RestoreJob,
        record: ResumeRecord,
        outcome: RestoreOutcome,
    ) -> Result<(), StoreError> {
        let record_restore = RecordRestore {
            record,
            outcome,
            job: Some(job.attempts),
        };
        self.background.execute(record_restore).await
    }

    /// Writes the row of an automatic restore that is about to be sent.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn begin_automatic_restore(&self, record: ResumeRecord) -> Result<(), StoreError> {
        let record_restore = RecordRestore {
            record,
            outcome: RestoreOutcome::Sending,
            job: None,
        };
        self.background.execute(record_restore).await
    }

    /// Finishes the restores of this change to this peer whose answers were lost: the state was
    /// found there. Returns whether there was any.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find_sent_restores(
        &self,
        to: &PeerKey,
        change: ChangeId,
    ) -> Result<bool, StoreError> {
        let to = to.clone();
        let find_sent = FindSentRestores { to, change };
        self.background.execute(find_sent).await
    }
}

struct ClaimState {
    record: ResumeRecord,
    claimant: Claimant,
}

impl Statement for ClaimState {
    type Output = Option<Claim>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Option<Claim>, sqlx::Error> {
        let columns = RecordColumns::of(&self.record);
        query_file!(
            "src/store/queries/add_claim.sql",
            columns.user_id,
            self.record.id,
            self.record.at.to_utc(),
            columns.change,
            columns.snapshot_id,
            columns.from_room_id,
            columns.from_peer_id,
            columns.to_room_id,
            columns.to_peer_id,
            columns.automatic,
            columns.requested_by,
            self.claimant.as_str(),
            columns.dropped_at
        )
        .execute(&mut *connection)
        .await?;
        let row = query_as!(
            ClaimRow,
            r#"SELECT claimed_by AS "claimed_by!", at FROM resumes
               WHERE user_id = $1 AND change = $2 AND kind = 'claim'"#,
            columns.user_id,
            columns.change
        )
        .fetch_optional(connection)
        .await?;
        let claim = |row: ClaimRow| {
            Ok(Claim {
                claimed_by: Claimant::parse(&row.claimed_by).map_err(rows::corrupt)?,
                claimed_at: row.at.into(),
            })
        };
        row.map(claim).transpose()
    }
}

struct ClaimRow {
    claimed_by: String,
    at: DateTime<Utc>,
}

struct RecordRestore {
    record: ResumeRecord,
    outcome: RestoreOutcome,
    /// The number of attempts of the job that this finishes.
    job: Option<i32>,
}

impl Statement for RecordRestore {
    type Output = ();

    async fn run(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let columns = RecordColumns::of(&self.record);
        query_file!(
            "src/store/queries/put_restore.sql",
            columns.user_id,
            self.record.id,
            self.record.at.to_utc(),
            columns.change,
            columns.snapshot_id,
            columns.from_room_id,
            columns.from_peer_id,
            columns.to_room_id,
            columns.to_peer_id,
            columns.automatic,
            columns.requested_by,
            columns.dropped_at,
            self.outcome.as_str(),
            self.outcome.problem(),
            self.job
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}

struct FindSentRestores {
    to: PeerKey,
    change: ChangeId,
}

impl Statement for FindSentRestores {
    type Output = bool;

    async fn run(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let found = query_file!(
            "src/store/queries/find_sent_restores.sql",
            self.to.user_id.as_str(),
            self.to.room_id.as_str(),
            self.to.peer_id.as_str(),
            self.change.as_uuid()
        )
        .execute(connection)
        .await?;
        Ok(found.rows_affected() > 0)
    }
}

/// The columns that claims and restores share.
struct RecordColumns<'a> {
    user_id: &'a str,
    change: Option<Uuid>,
    snapshot_id: Option<Uuid>,
    from_room_id: Option<&'a str>,
    from_peer_id: Option<&'a str>,
    to_room_id: Option<&'a str>,
    to_peer_id: Option<&'a str>,
    automatic: bool,
    requested_by: Option<&'a str>,
    dropped_at: Option<DateTime<Utc>>,
}

impl<'a> RecordColumns<'a> {
    fn of(record: &'a ResumeRecord) -> Self {
        let state = record.state.as_ref();
        let to = record.to.as_ref();
        let (automatic, requested_by) = match &record.requester {
            Requester::Join => (true, None),
            Requester::Key(name) => (false, name.as_deref()),
        };
        Self {
            user_id: record.user_id.as_str(),
            change: state.map(|state| state.change.as_uuid()),
            snapshot_id: state.map(|state| state.snapshot_id),
            from_room_id: state.map(|state| state.key.room_id.as_str()),
            from_peer_id: state.map(|state| state.key.peer_id.as_str()),
            to_room_id: to.map(|to| to.room_id.as_str()),
            to_peer_id: to.map(|to| to.peer_id.as_str()),
            automatic,
            requested_by,
            dropped_at: state
                .and_then(SavedState::dropped_at)
                .map(Timestamp::to_utc),
        }
    }
}
