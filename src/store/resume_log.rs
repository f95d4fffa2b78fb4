//! The log of restores and claims. A claim is its row in the log: a unique index admits only one
//! for each change.

use sqlx::{PgConnection, query, query_file};
use uuid::Uuid;

use super::connections::Statement;
use super::{Store, StoreError, rows};
use crate::domain::{
    Claim, Claimant, ProblemCode, Requester, RestoreOutcome, ResumeRecord, SavedState, Timestamp,
};

impl Store {
    /// Claims the saved state of `record`, and returns whose it is now: the claimant's, or that of
    /// whoever was first.
    ///
    /// # Errors
    /// [`StoreError`]; after `Unavailable` it may have been claimed, and claiming it again is
    /// harmless.
    pub async fn claim(
        &self,
        record: ResumeRecord,
        claimant: Claimant,
    ) -> Result<Claim, StoreError> {
        let claim_state = ClaimState {
            id: Uuid::now_v7(),
            record,
            claimant,
        };
        self.others.execute(claim_state).await
    }

    /// Records the outcome of a restore.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn record_restore(
        &self,
        record: ResumeRecord,
        outcome: RestoreOutcome,
    ) -> Result<(), StoreError> {
        let record_restore = RecordRestore {
            id: Uuid::now_v7(),
            record,
            outcome,
        };
        self.others.execute(record_restore).await
    }
}

struct ClaimState {
    id: Uuid,
    record: ResumeRecord,
    claimant: Claimant,
}

impl Statement for ClaimState {
    type Output = Claim;

    async fn run(&self, connection: &mut PgConnection) -> Result<Claim, sqlx::Error> {
        let entry = LogEntry {
            kind: "claim",
            claimant: Some(&self.claimant),
            outcome: "claimed",
            problem: None,
        };
        entry.add(&mut *connection, self.id, &self.record).await?;
        let state = &self.record.state;
        let row = query!(
            r#"SELECT claimed_by AS "claimed_by!", at FROM resumes
               WHERE user_id = $1 AND change = $2 AND kind = 'claim'"#,
            state.key.user_id.as_str(),
            state.change.as_uuid()
        )
        .fetch_one(connection)
        .await?;
        Ok(Claim {
            claimed_by: Claimant::parse(&row.claimed_by).map_err(rows::corrupt)?,
            claimed_at: row.at.into(),
        })
    }
}

struct RecordRestore {
    id: Uuid,
    record: ResumeRecord,
    outcome: RestoreOutcome,
}

impl Statement for RecordRestore {
    type Output = ();

    async fn run(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let entry = LogEntry {
            kind: "restore",
            claimant: None,
            outcome: self.outcome.as_str(),
            problem: self.outcome.problem().map(ProblemCode::as_str),
        };
        entry.add(connection, self.id, &self.record).await
    }
}

/// What differs between the entries of claims and restores.
struct LogEntry<'a> {
    kind: &'static str,
    claimant: Option<&'a Claimant>,
    outcome: &'a str,
    problem: Option<&'a str>,
}

impl LogEntry<'_> {
    /// Adds the entry, unless it is there already or is the second claim of one change.
    async fn add(
        &self,
        connection: &mut PgConnection,
        id: Uuid,
        record: &ResumeRecord,
    ) -> Result<(), sqlx::Error> {
        let state: &SavedState = &record.state;
        let (automatic, requested_by) = match &record.requester {
            Requester::Join => (true, None),
            Requester::Key(name) => (false, name.as_deref()),
        };
        query_file!(
            "src/store/queries/add_resume.sql",
            state.key.user_id.as_str(),
            id,
            self.kind,
            record.at.to_utc(),
            state.change.as_uuid(),
            state.snapshot_id,
            state.key.room_id.as_str(),
            state.key.peer_id.as_str(),
            record.to.as_ref().map(|to| to.room_id.as_str()),
            record.to.as_ref().map(|to| to.peer_id.as_str()),
            automatic,
            requested_by,
            self.claimant.map(Claimant::as_str),
            state.dropped_at().map(Timestamp::to_utc),
            self.outcome,
            self.problem
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}
