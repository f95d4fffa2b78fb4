//! Claims and restores where the tables are distributed: statements that name one user each, in one transaction.

use sqlx::{PgConnection, query_file};

use super::{ClaimState, RecordColumns, RecordRestore};

impl ClaimState {
    /// Adds the claim; false where there is one already, or the peer is gone.
    pub(super) async fn add_by_row(
        &self,
        connection: &mut PgConnection,
    ) -> Result<bool, sqlx::Error> {
        let columns = RecordColumns::of(&self.record);
        if !lock_peer(connection, &columns).await? {
            return Ok(false);
        }
        let added = query_file!(
            "src/store/queries/one_user/add_claim.sql",
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
}

impl RecordRestore {
    /// Writes the row; false where it says already that the state was restored, or the peer is gone.
    pub(super) async fn put_by_row(
        &self,
        connection: &mut PgConnection,
    ) -> Result<bool, sqlx::Error> {
        let columns = RecordColumns::of(&self.record);
        if let Some(attempts) = self.job {
            query_file!(
                "src/store/queries/one_user/finish_restore_job.sql",
                columns.user_id,
                columns.to_room_id,
                columns.to_peer_id,
                attempts
            )
            .execute(&mut *connection)
            .await?;
        }
        if !lock_peer(connection, &columns).await? {
            return Ok(false);
        }
        let put = query_file!(
            "src/store/queries/one_user/put_restore.sql",
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
            self.outcome.problem()
        )
        .execute(connection)
        .await?;
        Ok(put.rows_affected() > 0)
    }
}

/// Locks the peer of a record against erasure; false where it is gone.
async fn lock_peer(
    connection: &mut PgConnection,
    columns: &RecordColumns<'_>,
) -> Result<bool, sqlx::Error> {
    let locked = query_file!(
        "src/store/queries/one_user/lock_peer.sql",
        columns.user_id,
        columns.from_room_id.or(columns.to_room_id),
        columns.from_peer_id.or(columns.to_peer_id)
    );
    Ok(locked.fetch_optional(connection).await?.is_some())
}
