//! The peer of a user whose metadata changed last: an entry of an index and a row of `peers`.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, query_file_as};
use uuid::Uuid;

use super::ResumeQuery;
use super::of_user::latest_of_user;
use crate::domain::{PeerId, RoomId, SavedState};
use crate::store::presence::{LivePeer, PresenceRow};
use crate::store::{Layout, rows};

pub(super) struct Row {
    /// The position of its query among the arguments, from 1.
    pub(super) ord: i64,
    pub(super) user_id: String,
    pub(super) room_id: String,
    pub(super) peer_id: String,
    pub(super) snapshot_id: Uuid,
    pub(super) metadata_raw: Option<Vec<u8>>,
    pub(super) changed_at: DateTime<Utc>,
    pub(super) change_id: Option<Uuid>,
    pub(super) name: Option<String>,
    pub(super) role: Option<String>,
    pub(super) joined_at: Option<DateTime<Utc>>,
    pub(super) last_observed_at: DateTime<Utc>,
    pub(super) connected_since: Option<DateTime<Utc>>,
    pub(super) ended_at: Option<DateTime<Utc>>,
    pub(super) end_kind: Option<String>,
    pub(super) end_reason: Option<String>,
    pub(super) departed_at: Option<DateTime<Utc>>,
    pub(super) session_ended_at: Option<DateTime<Utc>>,
    pub(super) live: Option<Vec<LivePeer>>,
}

impl Row {
    pub(super) fn into_state(self) -> Result<SavedState, sqlx::Error> {
        let key = rows::key(&self.user_id, &self.room_id, &self.peer_id)?;
        let presence = PresenceRow {
            connected_since: self.connected_since,
            ended_at: self.ended_at,
            end_kind: self.end_kind,
            end_reason: self.end_reason,
            departed_at: self.departed_at,
            session_ended_at: self.session_ended_at,
            live: self.live,
        };
        let metadata = rows::metadata(self.metadata_raw)?;
        let changed_at = self.changed_at.into();
        Ok(SavedState {
            change: rows::change_id(self.change_id, &key.user_id, changed_at, &metadata),
            key,
            snapshot_id: self.snapshot_id,
            metadata,
            changed_at,
            name: rows::label(self.name),
            role: rows::label(self.role),
            joined_at: self.joined_at.map(Into::into),
            last_observed_at: self.last_observed_at.into(),
            presence: presence.into_presence()?,
        })
    }
}

pub(super) async fn latest_state(
    connection: &mut PgConnection,
    query: &ResumeQuery,
) -> Result<Option<SavedState>, sqlx::Error> {
    let user_id = query.user_id.as_str();
    let excluded = query.exclude_peer_id.as_ref().map(PeerId::as_str);
    let row = match &query.room_id {
        None => {
            query_file_as!(Row, "src/store/queries/resume_one.sql", user_id, excluded)
                .fetch_optional(connection)
                .await?
        }
        Some(room_id) => {
            query_file_as!(
                Row,
                "src/store/queries/resume_one_in_room.sql",
                user_id,
                excluded,
                room_id.as_str()
            )
            .fetch_optional(connection)
            .await?
        }
    };
    row.map(Row::into_state).transpose()
}

/// One state for each query, in order: one statement for those without a room, one for the others.
/// Reads presence in the same statements where it is wanted. Where the tables are distributed, one
/// statement for each.
pub(in crate::store) async fn latest_states(
    connection: &mut PgConnection,
    layout: Layout,
    queries: &[&ResumeQuery],
    presence: bool,
) -> Result<Vec<Option<SavedState>>, sqlx::Error> {
    if layout == Layout::Distributed {
        let mut states = Vec::with_capacity(queries.len());
        for query in queries {
            states.push(latest_of_user(connection, query, presence).await?);
        }
        return Ok(states);
    }
    let mut states: Vec<Option<SavedState>> = queries.iter().map(|_| None).collect();
    let (in_room, anywhere): (Vec<usize>, Vec<usize>) =
        (0..queries.len()).partition(|&index| queries[index].room_id.is_some());
    for mut indices in [anywhere, in_room] {
        if indices.is_empty() {
            continue;
        }
        let selected: Vec<&ResumeQuery> = indices.iter().map(|&index| queries[index]).collect();
        for row in latest_rows(connection, &selected, presence).await? {
            let index = *rows::at_ordinality(&mut indices, row.ord)?;
            states[index] = Some(row.into_state()?);
        }
    }
    Ok(states)
}

/// The rows for queries that either all name a room or none does.
async fn latest_rows(
    connection: &mut PgConnection,
    queries: &[&ResumeQuery],
    presence: bool,
) -> Result<Vec<Row>, sqlx::Error> {
    let user_ids: Vec<&str> = queries.iter().map(|query| query.user_id.as_str()).collect();
    let excluded: Vec<Option<&str>> = queries
        .iter()
        .map(|query| query.exclude_peer_id.as_ref().map(PeerId::as_str))
        .collect();
    let room_ids: Vec<&str> = queries
        .iter()
        .filter_map(|query| query.room_id.as_ref().map(RoomId::as_str))
        .collect();
    match (room_ids.is_empty(), presence) {
        (true, false) => {
            query_file_as!(
                Row,
                "src/store/queries/resume_many.sql",
                &user_ids as &[&str],
                &excluded as &[Option<&str>]
            )
            .fetch_all(connection)
            .await
        }
        (true, true) => {
            query_file_as!(
                Row,
                "src/store/queries/resume_with_presence.sql",
                &user_ids as &[&str],
                &excluded as &[Option<&str>]
            )
            .fetch_all(connection)
            .await
        }
        (false, false) => {
            query_file_as!(
                Row,
                "src/store/queries/resume_many_in_room.sql",
                &user_ids as &[&str],
                &excluded as &[Option<&str>],
                &room_ids as &[&str]
            )
            .fetch_all(connection)
            .await
        }
        (false, true) => {
            query_file_as!(
                Row,
                "src/store/queries/resume_with_presence_in_room.sql",
                &user_ids as &[&str],
                &excluded as &[Option<&str>],
                &room_ids as &[&str]
            )
            .fetch_all(connection)
            .await
        }
    }
}
