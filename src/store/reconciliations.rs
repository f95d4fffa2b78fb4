//! Signs of life of the replicas, and the times in which there was none. All times are Postgres's.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sqlx::types::Json;
use sqlx::{PgConnection, query, query_file};
use uuid::Uuid;

use super::connections::Statement;
use super::{Store, StoreError};
use crate::domain::{
    ProblemCode, Reconciled, Reconciliation, ReconciliationReport, ReconciliationState,
    ReplayPiece, Timestamp,
};

/// For how long 100ms tries to deliver a webhook: after 1, 3 and 10 s.
const DELIVERY_PATIENCE: Duration = Duration::from_secs(14);

/// The shortest time without a sign of life that says something: there is one every 5 s.
const SHORTEST_GAP: Duration = Duration::from_secs(7);

/// How long after a gap it is reconciled: what 100ms still tries to deliver then comes by itself, or
/// has failed and can be replayed.
const SETTLING_TIME: Duration = Duration::from_secs(20);

/// What becomes of a reconciliation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReconciliationStep {
    /// The attempt goes on.
    GoesOn,
    /// The attempt is over, and there is another one after this pause.
    TriedAgain(Duration),
    /// It is finished.
    Finished,
}

impl Store {
    /// Gives a sign of life of this replica. Returns whether there was none for so long that
    /// webhooks may have been lost, and this replica is the first to notice.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sign_of_life(&self, replica: Uuid) -> Result<bool, StoreError> {
        self.background.execute(SignOfLife(replica)).await
    }

    /// Asks for what 100ms could not deliver from `since` to `until`; until now where that is not given.
    /// None if `since` is not before that.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn add_reconciliation(
        &self,
        since: Timestamp,
        until: Option<Timestamp>,
        requested_by: Option<Arc<str>>,
    ) -> Result<Option<ReconciliationReport>, StoreError> {
        let add = AddReconciliation {
            id: Uuid::now_v7(),
            since,
            until,
            requested_by,
        };
        self.histories.execute(add).await
    }

    /// At most `limit` reconciliations, newest first, those before this one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn reconciliations(
        &self,
        before: Option<Uuid>,
        limit: u16,
    ) -> Result<Vec<ReconciliationReport>, StoreError> {
        let list = ListReconciliations {
            id: None,
            before,
            limit,
        };
        self.histories.execute(list).await
    }

    /// The reconciliation of this id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn reconciliation(
        &self,
        id: Uuid,
    ) -> Result<Option<ReconciliationReport>, StoreError> {
        let list = ListReconciliations {
            id: Some(id),
            before: None,
            limit: 1,
        };
        Ok(self.histories.execute(list).await?.pop())
    }

    /// Takes a reconciliation that is due for a lease, if there is one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn take_reconciliation(
        &self,
        lease: Duration,
    ) -> Result<Option<Reconciliation>, StoreError> {
        self.background.execute(TakeReconciliation { lease }).await
    }

    /// Keeps a reconciliation for another lease; false where somebody else has it meanwhile.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn renew_reconciliation(
        &self,
        reconciliation: &Reconciliation,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        let renew = RenewReconciliation {
            reconciliation: reconciliation.clone(),
            lease,
        };
        self.background.execute(renew).await
    }

    /// Notes that a replay was begun; or that it is to be begun again, where there is no workflow.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn note_replay(
        &self,
        reconciliation: &Reconciliation,
        piece: ReplayPiece,
        workflow_id: Option<String>,
    ) -> Result<(), StoreError> {
        let note = NoteReplay {
            id: reconciliation.id,
            piece: piece.to_string(),
            workflow_id,
        };
        self.background.execute(note).await
    }

    /// Notes what came of a reconciliation so far, and what becomes of it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn note_reconciliation(
        &self,
        reconciliation: &Reconciliation,
        reconciled: Reconciled,
        step: ReconciliationStep,
    ) -> Result<(), StoreError> {
        let note = NoteReconciliation {
            reconciliation: reconciliation.clone(),
            reconciled,
            step,
        };
        self.background.execute(note).await
    }
}

struct SignOfLife(Uuid);

impl Statement for SignOfLife {
    type Output = bool;

    async fn run(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let row = query_file!(
            "src/store/queries/sign_of_life.sql",
            self.0,
            Uuid::now_v7(),
            DELIVERY_PATIENCE.as_secs_f64(),
            SETTLING_TIME.as_secs_f64(),
            SHORTEST_GAP.as_secs_f64()
        )
        .fetch_one(connection)
        .await?;
        Ok(row.gap)
    }
}

struct AddReconciliation {
    id: Uuid,
    since: Timestamp,
    until: Option<Timestamp>,
    requested_by: Option<Arc<str>>,
}

impl Statement for AddReconciliation {
    type Output = Option<ReconciliationReport>;

    async fn run(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Option<ReconciliationReport>, sqlx::Error> {
        // Run again, it is there already.
        let row = query!(
            r#"INSERT INTO reconciliations AS known (id, since, until, requested_by, manual, due_at)
               SELECT $1, $2, coalesce($3, now()), $4, true, now() WHERE $2 < coalesce($3, now())
               ON CONFLICT (id) DO UPDATE SET manual = true
               RETURNING until, due_at"#,
            self.id,
            self.since.to_utc(),
            self.until.map(Timestamp::to_utc),
            self.requested_by.as_deref()
        )
        .fetch_optional(connection)
        .await?;
        Ok(row.map(|row| ReconciliationReport {
            id: self.id,
            since: self.since,
            until: row.until.into(),
            manual: true,
            requested_by: self.requested_by.clone(),
            state: ReconciliationState::Waiting,
            next_attempt_at: row.due_at.map(Into::into),
            finished_at: None,
            reconciled: None,
        }))
    }
}

struct ListReconciliations {
    id: Option<Uuid>,
    before: Option<Uuid>,
    limit: u16,
}

impl Statement for ListReconciliations {
    type Output = Vec<ReconciliationReport>;

    async fn run(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Vec<ReconciliationReport>, sqlx::Error> {
        let report_rows = query_file!(
            "src/store/queries/reconciliations.sql",
            self.id,
            self.before,
            i64::from(self.limit)
        )
        .fetch_all(connection)
        .await?;
        let count =
            |count: Option<i64>| u64::try_from(count.unwrap_or_default()).unwrap_or_default();
        let reports = report_rows.into_iter().map(|row| {
            let reconciled = Reconciled {
                replayed: count(row.replayed),
                not_replayed: count(row.not_replayed),
                rooms: u32::try_from(row.rooms.unwrap_or_default()).unwrap_or_default(),
                peers: count(row.peers),
                changes: count(row.changes),
                corrected: count(row.corrected),
                problem: row.problem.as_deref().and_then(ProblemCode::parse),
            };
            let is_waiting = row.attempts == 0 || reconciled.problem.is_some();
            ReconciliationReport {
                id: row.id,
                since: row.since.into(),
                until: row.until.into(),
                manual: row.manual,
                requested_by: row.requested_by.map(Into::into),
                state: match row.due_at {
                    None => ReconciliationState::Finished,
                    Some(_) if is_waiting => ReconciliationState::Waiting,
                    Some(_) => ReconciliationState::Running,
                },
                next_attempt_at: row.due_at.filter(|_| is_waiting).map(Into::into),
                finished_at: row.finished_at.map(Into::into),
                reconciled: (row.attempts > 0).then_some(reconciled),
            }
        });
        Ok(reports.collect())
    }
}

struct TakeReconciliation {
    lease: Duration,
}

impl Statement for TakeReconciliation {
    type Output = Option<Reconciliation>;

    async fn run(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Option<Reconciliation>, sqlx::Error> {
        let row = query_file!(
            "src/store/queries/take_reconciliation.sql",
            self.lease.as_secs_f64()
        )
        .fetch_optional(connection)
        .await?;
        Ok(row.map(|row| Reconciliation {
            id: row.id,
            since: row.since.into(),
            until: row.until.into(),
            begun_at: row.begun_at.into(),
            taken_at: row.taken_at.into(),
            attempts: row.attempts,
            replays: row.replays.0,
        }))
    }
}

struct RenewReconciliation {
    reconciliation: Reconciliation,
    lease: Duration,
}

impl Statement for RenewReconciliation {
    type Output = bool;

    async fn run(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let renewed = query!(
            "UPDATE reconciliations SET due_at = now() + make_interval(secs => $3)
             WHERE id = $1 AND attempts = $2 AND due_at IS NOT NULL",
            self.reconciliation.id,
            self.reconciliation.attempts,
            self.lease.as_secs_f64()
        )
        .execute(connection)
        .await?;
        Ok(renewed.rows_affected() > 0)
    }
}

struct NoteReplay {
    id: Uuid,
    piece: String,
    workflow_id: Option<String>,
}

impl Statement for NoteReplay {
    type Output = ();

    async fn run(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        query!(
            "UPDATE reconciliations
             SET replays = replays - $2::text || CASE WHEN $3::text IS NULL THEN '{}' ELSE jsonb_build_object($2, $3) END
             WHERE id = $1",
            self.id,
            self.piece,
            self.workflow_id
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}

struct NoteReconciliation {
    reconciliation: Reconciliation,
    reconciled: Reconciled,
    step: ReconciliationStep,
}

impl Statement for NoteReconciliation {
    type Output = ();

    async fn run(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let Reconciled {
            replayed,
            not_replayed,
            rooms,
            peers,
            changes,
            corrected,
            problem,
        } = self.reconciled;
        let pause = match self.step {
            ReconciliationStep::TriedAgain(pause) => Some(pause.as_secs_f64()),
            ReconciliationStep::GoesOn | ReconciliationStep::Finished => None,
        };
        query_file!(
            "src/store/queries/note_reconciliation.sql",
            self.reconciliation.id,
            self.reconciliation.attempts,
            count(replayed),
            count(not_replayed),
            i32::try_from(rooms).unwrap_or(i32::MAX),
            count(peers),
            count(changes),
            count(corrected),
            problem.map(ProblemCode::as_str),
            self.step == ReconciliationStep::Finished,
            pause
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}
