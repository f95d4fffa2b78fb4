//! The log of restores and claims. A claim is its row in the log: a unique index admits only one
//! for each change.

mod by_row;

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection, query_as, query_file, query_file_as};
use uuid::Uuid;

use super::connections::Statement;
use super::own_events::OwnEvents;
use super::{Store, StoreError, rows};
use crate::domain::{
    Claim, Claimant, OwnEvent, Requester, RestoreJob, RestoreOutcome, ResumeRecord, SavedState,
    Timestamp,
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
        let claim_state = ClaimState {
            record,
            claimant,
            own_events: self.own_events.clone(),
        };
        self.restores.execute(claim_state).await
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
            own_events: self.own_events.clone(),
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
            own_events: self.own_events.clone(),
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
            own_events: self.own_events.clone(),
        };
        self.background.execute(record_restore).await
    }

    /// Finishes the restores of this state whose answers were lost: it was found on the peer that they
    /// were to. Returns whether there was any.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find_sent_restores(&self, found: &SavedState) -> Result<bool, StoreError> {
        let find_sent = FindSentRestores {
            found: found.clone(),
            own_events: self.own_events.clone(),
        };
        self.background.execute(find_sent).await
    }
}

struct ClaimState {
    record: ResumeRecord,
    claimant: Claimant,
    own_events: Option<OwnEvents>,
}

impl Statement for ClaimState {
    type Output = Option<Claim>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Option<Claim>, sqlx::Error> {
        if let Some(own_events) = &self.own_events {
            let mut transaction = connection.begin().await?;
            if self.add(&mut transaction).await? {
                own_events.queue(&mut transaction, self.event()).await?;
            }
            transaction.commit().await?;
            own_events.notify();
        } else {
            self.add(connection).await?;
        }
        self.stored(connection).await
    }

    async fn run_distributed(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Option<Claim>, sqlx::Error> {
        let mut transaction = connection.begin().await?;
        let is_added = self.add_by_row(&mut transaction).await?;
        if let Some(own_events) = self.own_events.as_ref().filter(|_| is_added) {
            own_events.queue(&mut transaction, self.event()).await?;
        }
        transaction.commit().await?;
        if let Some(own_events) = &self.own_events {
            own_events.notify();
        }
        self.stored(connection).await
    }
}

impl ClaimState {
    /// Adds the claim; false where there is one already.
    async fn add(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let columns = RecordColumns::of(&self.record);
        let added = query_file!(
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
        .execute(connection)
        .await?;
        Ok(added.rows_affected() > 0)
    }

    fn event(&self) -> Option<OwnEvent> {
        Some(OwnEvent::Claimed {
            state: self.record.state.clone()?,
            to: self.record.to.clone(),
            at: self.record.at,
            claimed_by: self.claimant.clone(),
        })
    }

    /// Whose claim there is now.
    async fn stored(&self, connection: &mut PgConnection) -> Result<Option<Claim>, sqlx::Error> {
        let columns = RecordColumns::of(&self.record);
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
    own_events: Option<OwnEvents>,
}

impl Statement for RecordRestore {
    type Output = ();

    async fn run(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let Some((own_events, event)) = self.own_events.as_ref().zip(self.event()) else {
            self.put(connection).await?;
            return Ok(());
        };
        let mut transaction = connection.begin().await?;
        if self.put(&mut transaction).await? {
            own_events.queue(&mut transaction, [event]).await?;
        }
        transaction.commit().await?;
        own_events.notify();
        Ok(())
    }

    async fn run_distributed(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let mut transaction = connection.begin().await?;
        let is_put = self.put_by_row(&mut transaction).await?;
        let event = self.event().filter(|_| is_put);
        if let Some(own_events) = &self.own_events {
            own_events.queue(&mut transaction, event).await?;
        }
        transaction.commit().await?;
        if let Some(own_events) = &self.own_events {
            own_events.notify();
        }
        Ok(())
    }
}

impl RecordRestore {
    /// Writes the row; false where it says already that the state was restored.
    async fn put(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let columns = RecordColumns::of(&self.record);
        let put = query_file!(
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
        Ok(put.rows_affected() > 0)
    }

    /// The event where the state is restored with this.
    fn event(&self) -> Option<OwnEvent> {
        if self.outcome != RestoreOutcome::Restored {
            return None;
        }
        Some(OwnEvent::Restored {
            state: self.record.state.clone()?,
            to: self.record.to.clone()?,
            at: self.record.at,
            automatic: self.record.requester == Requester::Join,
        })
    }
}

struct FindSentRestores {
    /// The state, on the peer that it was sent to.
    found: SavedState,
    own_events: Option<OwnEvents>,
}

struct FoundRow {
    at: DateTime<Utc>,
    snapshot_id: Option<Uuid>,
    from_room_id: Option<String>,
    from_peer_id: Option<String>,
    automatic: bool,
}

impl Statement for FindSentRestores {
    type Output = bool;

    async fn run(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let Some(own_events) = &self.own_events else {
            return Ok(!self.find(connection).await?.is_empty());
        };
        let mut transaction = connection.begin().await?;
        let found = self.find(&mut transaction).await?;
        let has_found = !found.is_empty();
        let events = found.into_iter().filter_map(|row| self.event(row));
        own_events.queue(&mut transaction, events).await?;
        transaction.commit().await?;
        own_events.notify();
        Ok(has_found)
    }
}

impl FindSentRestores {
    async fn find(&self, connection: &mut PgConnection) -> Result<Vec<FoundRow>, sqlx::Error> {
        let to = &self.found.key;
        query_file_as!(
            FoundRow,
            "src/store/queries/find_sent_restores.sql",
            to.user_id.as_str(),
            to.room_id.as_str(),
            to.peer_id.as_str(),
            self.found.change.as_uuid()
        )
        .fetch_all(connection)
        .await
    }

    /// The event, with the state as it was when it was sent.
    fn event(&self, row: FoundRow) -> Option<OwnEvent> {
        let to = &self.found.key;
        let from = rows::key(to.user_id.as_str(), &row.from_room_id?, &row.from_peer_id?).ok()?;
        let state = SavedState {
            key: from,
            snapshot_id: row.snapshot_id?,
            ..self.found.clone()
        };
        Some(OwnEvent::Restored {
            state,
            to: to.clone(),
            at: row.at.into(),
            automatic: row.automatic,
        })
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
