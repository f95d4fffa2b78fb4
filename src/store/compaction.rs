//! Compaction: rows of `peers` that no answer needs any more go, and nothing brings them back.
//!
//! What is dated before the rows that went is *settled*: a report of that time is passed on and
//! stored nowhere. 100ms sends nothing that is so old.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, query_file, query_file_as, query_file_scalar, query_scalar};

use super::connections::{Statement, begin_with};
use super::{Store, StoreError};
use crate::domain::{MIN_KEEP_PEERS, Timestamp};

/// How much longer a row stays. Half of it lies between what is settled and what 100ms may still
/// replay, and half between that and the latest time of the rows that go.
pub(super) const GRACE: Duration = Duration::from_hours(24);
/// How many peers are looked at in one statement, which may lock all of them.
const MAX_PEERS: i64 = 500;
/// A compaction waits no longer for a lock: of a migration, say.
const SET_LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '1s'";

/// How far the compaction of peers has come, in the order in which they ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactionPosition {
    at: DateTime<Utc>,
    user_id: String,
    room_id: String,
    peer_id: String,
}

/// What one step of a compaction did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactionStep<Position> {
    /// How many rows it deleted.
    pub deleted: u64,
    /// Where the next step begins; none where nothing is left.
    pub position: Option<Position>,
}

impl<Position> CompactionStep<Position> {
    /// Nothing was deleted, and nothing is left.
    pub(super) const NOTHING: Self = Self {
        deleted: 0,
        position: None,
    };
}

impl Store {
    /// Deletes rows of peers that ended longer ago than `keep`, and that no answer needs: of those
    /// after `position`, a limited number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn compact_peers(
        &self,
        keep: Duration,
        position: Option<CompactionPosition>,
    ) -> Result<CompactionStep<CompactionPosition>, StoreError> {
        let keep = keep.max(MIN_KEEP_PEERS);
        self.background
            .execute(CompactPeers { keep, position })
            .await
    }
}

struct CompactPeers {
    keep: Duration,
    position: Option<CompactionPosition>,
}

impl Statement for CompactPeers {
    type Output = CompactionStep<CompactionPosition>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Output, sqlx::Error> {
        let mut transaction = begin_with(connection, SET_LOCK_TIMEOUT).await?;
        let after = self.position.as_ref();
        let id = |id: fn(&CompactionPosition) -> &String| after.map_or("", |after| id(after));
        let step = query_file!(
            "src/store/queries/compact_peers.sql",
            (self.keep + GRACE).as_secs_f64(),
            after.map_or(DateTime::UNIX_EPOCH, |after| after.at),
            id(|after| &after.user_id),
            id(|after| &after.room_id),
            id(|after| &after.peer_id),
            MAX_PEERS
        )
        .fetch_one(&mut *transaction)
        .await?;
        transaction.commit().await?;
        let last = (step.at, step.user_id, step.room_id, step.peer_id);
        let position = match last {
            (Some(at), Some(user_id), Some(room_id), Some(peer_id)) => Some(CompactionPosition {
                at,
                user_id,
                room_id,
                peer_id,
            }),
            _ => None,
        };
        Ok(CompactionStep {
            deleted: step.deleted.unsigned_abs(),
            position,
        })
    }

    async fn run_distributed(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Self::Output, sqlx::Error> {
        let ended = self.ended_peers(connection).await?;
        let Some(last) = ended.last() else {
            return Ok(CompactionStep::NOTHING);
        };
        let position = CompactionPosition {
            at: last.at,
            user_id: last.user_id.clone(),
            room_id: last.room_id.clone(),
            peer_id: last.peer_id.clone(),
        };
        let age = (self.keep + GRACE).as_secs_f64();
        // The rows are on other nodes, and go one by one: nobody may find them gone before this is known.
        query_file!(
            "src/store/queries/every_node/settle_before_compaction.sql",
            age
        )
        .execute(&mut *connection)
        .await?;
        let user_ids: Vec<&str> = ended.iter().map(|peer| peer.user_id.as_str()).collect();
        let with_jobs = query_file_scalar!(
            "src/store/queries/every_node/users_with_jobs.sql",
            &user_ids as &[&str]
        )
        .fetch_all(&mut *connection)
        .await?;
        let with_jobs: HashSet<String> = with_jobs.into_iter().collect();
        let mut deleted = 0;
        for peer in ended
            .iter()
            .filter(|peer| !with_jobs.contains(&peer.user_id))
        {
            deleted += query_file!(
                "src/store/queries/one_user/compact_peer.sql",
                peer.user_id,
                peer.room_id,
                peer.peer_id,
                peer.version,
                age
            )
            .execute(&mut *connection)
            .await?
            .rows_affected();
        }
        Ok(CompactionStep {
            deleted,
            position: Some(position),
        })
    }
}

struct EndedPeer {
    at: DateTime<Utc>,
    user_id: String,
    room_id: String,
    peer_id: String,
    version: i64,
}

impl CompactPeers {
    /// The peers to look at, which may be on any node.
    async fn ended_peers(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Vec<EndedPeer>, sqlx::Error> {
        let after = self.position.as_ref();
        let id = |id: fn(&CompactionPosition) -> &String| after.map_or("", |after| id(after));
        query_file_as!(
            EndedPeer,
            "src/store/queries/every_node/ended_peers.sql",
            (self.keep + GRACE).as_secs_f64(),
            after.map_or(DateTime::UNIX_EPOCH, |after| after.at),
            id(|after| &after.user_id),
            id(|after| &after.room_id),
            id(|after| &after.peer_id),
            MAX_PEERS
        )
        .fetch_all(connection)
        .await
    }
}

/// Whether what is dated then may be settled, so that it is worth asking.
pub(super) fn may_be_settled(at: Timestamp, now: Timestamp) -> bool {
    // Nothing newer is, also where the clocks differ by hours.
    now.since(at) > MIN_KEEP_PEERS
}

/// Until when all is settled; none where nothing is.
pub(super) async fn settled_until(
    connection: &mut PgConnection,
) -> Result<Option<Timestamp>, sqlx::Error> {
    let settled_until = query_scalar!(
        "SELECT settled_until FROM compactions WHERE (SELECT rejoin_require_primary()) AND name = 'peers'"
    )
    .fetch_optional(connection)
    .await?;
    Ok(settled_until.map(Into::into))
}
