//! Resume: the newest change of metadata among a user's peers, read from the primary, many users in one statement.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, query_as};
use uuid::Uuid;

use super::batch::Batch;
use super::connections::{Database, run};
use super::presence::presence;
use super::{StoreError, rows};
use crate::domain::{PeerId, PeerKey, RoomId, SavedState, UserId, UserPresence};

/// Which state is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumeQuery {
    /// Whose.
    pub user_id: UserId,
    /// Only of peers in this room.
    pub room_id: Option<RoomId>,
    /// Not of this peer: the new connection itself.
    pub exclude_peer_id: Option<PeerId>,
}

impl ResumeQuery {
    /// The state of any peer of the user.
    pub fn of_user(user_id: &UserId) -> Self {
        Self {
            user_id: user_id.clone(),
            room_id: None,
            exclude_peer_id: None,
        }
    }

    fn excluded(&self) -> Option<&str> {
        self.exclude_peer_id.as_ref().map(PeerId::as_str)
    }
}

/// Reads resumes in batches.
pub(super) struct ResumeBatch {
    pub(super) database: Database,
    /// Whether anybody tells of presence; else it is not read.
    pub(super) presence: bool,
}

impl Batch for ResumeBatch {
    type Item = ResumeQuery;
    type Answer = Option<SavedState>;
    const NAME: &'static str = "resume";
    const ONLY_AWAITED: bool = true;

    fn size(_: &ResumeQuery) -> usize {
        0
    }

    async fn run(&self, queries: Vec<ResumeQuery>) -> Vec<Result<Option<SavedState>, StoreError>> {
        if let [query] = queries.as_slice() {
            return vec![run!(self.database, connection => self.resume_one(connection, query))];
        }
        match run!(self.database, connection => self.resume_many(connection, &queries)) {
            Ok(states) => states.into_iter().map(Ok).collect(),
            Err(error) => queries.iter().map(|_| Err(error.again())).collect(),
        }
    }
}

impl ResumeBatch {
    async fn resume_one(
        &self,
        connection: &mut PgConnection,
        query: &ResumeQuery,
    ) -> Result<Option<SavedState>, sqlx::Error> {
        let mut state = [resume_one(&mut *connection, query).await?];
        self.add_presence(connection, &mut state).await?;
        let [state] = state;
        Ok(state)
    }

    async fn resume_many(
        &self,
        connection: &mut PgConnection,
        queries: &[ResumeQuery],
    ) -> Result<Vec<Option<SavedState>>, sqlx::Error> {
        let mut states = resume_many(&mut *connection, queries).await?;
        self.add_presence(connection, &mut states).await?;
        Ok(states)
    }

    async fn add_presence(
        &self,
        connection: &mut PgConnection,
        states: &mut [Option<SavedState>],
    ) -> Result<(), sqlx::Error> {
        let keys: Vec<PeerKey> = states
            .iter()
            .flatten()
            .map(|state| state.key.clone())
            .collect();
        if self.presence && !keys.is_empty() {
            let keys: Vec<&PeerKey> = keys.iter().collect();
            let told = presence(connection, &keys).await?;
            for (state, presence) in states.iter_mut().flatten().zip(told) {
                state.presence = presence;
            }
        }
        Ok(())
    }
}

struct Row {
    /// The place of its query in the batch, from 1.
    ord: i64,
    user_id: String,
    room_id: String,
    peer_id: String,
    snapshot_id: Uuid,
    metadata_raw: Option<Vec<u8>>,
    changed_at: DateTime<Utc>,
    name: Option<String>,
    role: Option<String>,
    joined_at: Option<DateTime<Utc>>,
    last_observed_at: DateTime<Utc>,
}

impl Row {
    fn state(self) -> Result<SavedState, sqlx::Error> {
        Ok(SavedState {
            key: rows::key(&self.user_id, &self.room_id, &self.peer_id)?,
            snapshot_id: self.snapshot_id,
            metadata: rows::metadata(self.metadata_raw)?,
            changed_at: self.changed_at.into(),
            name: rows::label(self.name),
            role: rows::label(self.role),
            joined_at: self.joined_at.map(Into::into),
            last_observed_at: self.last_observed_at.into(),
            presence: UserPresence::default(),
        })
    }
}

/// The newest change among the peers that `$of` chooses: the first entry of an index, whatever else the user has had.
macro_rules! newest_one {
    ($of:tt, $($argument:expr),+) => {
        query_as!(
            Row,
            r#"SELECT 1::bigint AS "ord!", user_id, room_id, peer_id, snapshot_id, metadata_raw,
                      metadata_changed_at AS "changed_at!", name, role, joined_at, last_observed_at
               FROM peers
               WHERE metadata_changed_at IS NOT NULL AND ($2::text IS NULL OR peer_id <> $2) AND "# + $of +
            " ORDER BY metadata_changed_at DESC, restored_at DESC NULLS LAST, joined_at DESC NULLS LAST, peer_id DESC,
                       room_id DESC
              LIMIT 1",
            $($argument),+
        )
    };
}

/// As [`newest_one`], for each entry of the arrays.
macro_rules! newest_each {
    ($arrays:tt, $of:tt, $($argument:expr),+) => {
        query_as!(
            Row,
            r#"SELECT q.ord AS "ord!", newest.user_id, newest.room_id, newest.peer_id, newest.snapshot_id,
                      newest.metadata_raw, newest.metadata_changed_at AS "changed_at!", newest.name, newest.role,
                      newest.joined_at, newest.last_observed_at
               FROM "# + $arrays +
            " CROSS JOIN LATERAL (
                  SELECT * FROM peers
                  WHERE metadata_changed_at IS NOT NULL AND (q.excluded IS NULL OR peer_id <> q.excluded) AND " + $of +
            "     ORDER BY metadata_changed_at DESC, restored_at DESC NULLS LAST, joined_at DESC NULLS LAST, peer_id DESC,
                       room_id DESC
                  LIMIT 1
              ) AS newest",
            $($argument),+
        )
    };
}

async fn resume_one(
    connection: &mut PgConnection,
    query: &ResumeQuery,
) -> Result<Option<SavedState>, sqlx::Error> {
    let (user_id, excluded) = (query.user_id.as_str(), query.excluded());
    let row = match &query.room_id {
        None => {
            newest_one!("user_id = $1", user_id, excluded)
                .fetch_optional(connection)
                .await?
        }
        Some(room) => {
            let room_id = room.as_str();
            newest_one!("user_id = $1 AND room_id = $3", user_id, excluded, room_id)
                .fetch_optional(connection)
                .await?
        }
    };
    row.map(Row::state).transpose()
}

/// One answer for each query, in order: one statement for those without a room, one for those with.
async fn resume_many(
    connection: &mut PgConnection,
    queries: &[ResumeQuery],
) -> Result<Vec<Option<SavedState>>, sqlx::Error> {
    let mut states: Vec<Option<SavedState>> = queries.iter().map(|_| None).collect();
    let (in_room, anywhere): (Vec<usize>, Vec<usize>) =
        (0..queries.len()).partition(|&at| queries[at].room_id.is_some());
    for places in [anywhere, in_room] {
        if places.is_empty() {
            continue;
        }
        let chosen: Vec<&ResumeQuery> = places.iter().map(|&at| &queries[at]).collect();
        for row in newest_of(connection, &chosen).await? {
            let place = usize::try_from(row.ord - 1)
                .ok()
                .and_then(|ord| places.get(ord).copied());
            let place = place.ok_or_else(|| rows::corrupt("an answer to no query"))?;
            states[place] = Some(row.state()?);
        }
    }
    Ok(states)
}

/// The rows for queries that either all name a room or none does.
async fn newest_of(
    connection: &mut PgConnection,
    queries: &[&ResumeQuery],
) -> Result<Vec<Row>, sqlx::Error> {
    let users: Vec<&str> = queries.iter().map(|query| query.user_id.as_str()).collect();
    let excluded: Vec<Option<&str>> = queries.iter().map(|query| query.excluded()).collect();
    let rooms: Vec<&str> = queries
        .iter()
        .filter_map(|query| query.room_id.as_ref().map(RoomId::as_str))
        .collect();
    if rooms.is_empty() {
        newest_each!(
            "unnest($1::text[], $2::text[]) WITH ORDINALITY AS q(user_id, excluded, ord)",
            "user_id = q.user_id",
            &users as &[&str],
            &excluded as &[Option<&str>]
        )
        .fetch_all(connection)
        .await
    } else {
        newest_each!(
            "unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS q(user_id, excluded, room_id, ord)",
            "user_id = q.user_id AND room_id = q.room_id",
            &users as &[&str],
            &excluded as &[Option<&str>],
            &rooms as &[&str]
        )
        .fetch_all(connection)
        .await
    }
}
