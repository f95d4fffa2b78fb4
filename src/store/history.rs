//! History: the rows of a user, newest first, or what was in force at an instant.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, query_as};
use uuid::Uuid;

use super::rows;
use crate::domain::{PeerId, RoomId, Snapshot, Timestamp, Tracks, UserId};

/// Which rows of history are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Whose.
    pub user_id: UserId,
    /// Only of this room.
    pub room_id: Option<RoomId>,
    /// Only of this peer.
    pub peer_id: Option<PeerId>,
    /// What of it.
    pub span: Span,
    /// How many rows at most, from 1.
    pub limit: u16,
    /// The last row of the page before.
    pub after: Option<Cursor>,
}

/// Which time of history is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// Rows first seen from `since` on and before `until`.
    Between {
        /// The earliest instant.
        since: Option<Timestamp>,
        /// The instant after the latest.
        until: Option<Timestamp>,
    },
    /// What was in force at this instant, one row a peer.
    At(Timestamp),
}

/// A place in history, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    first_observed_at: Timestamp,
    id: Uuid,
}

impl Cursor {
    fn after(row: &Snapshot) -> Self {
        Self {
            first_observed_at: row.first_observed_at,
            id: row.id,
        }
    }

    /// Reads what [`Cursor`]'s `Display` wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let (micros, id) = text.split_once('_')?;
        let at = DateTime::from_timestamp_micros(micros.parse().ok()?)?;
        Some(Self {
            first_observed_at: at.into(),
            id: Uuid::try_parse(id).ok()?,
        })
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}_{}",
            self.first_observed_at.to_utc().timestamp_micros(),
            self.id.simple()
        )
    }
}

/// A page of history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPage {
    /// Newest first.
    pub snapshots: Vec<Snapshot>,
    /// Where the next page begins; none on the last.
    pub next: Option<Cursor>,
}

pub(super) async fn history(
    connection: &mut PgConnection,
    query: &HistoryQuery,
) -> Result<HistoryPage, sqlx::Error> {
    let found = match query.span {
        Span::Between { since, until } => between(connection, query, since, until).await?,
        Span::At(at) => in_force(connection, query, at).await?,
    };
    let there = found.first().map_or(0, |row| row.found);
    let kept = found.into_iter().take(usize::from(query.limit));
    let snapshots: Vec<Snapshot> = kept.map(Row::snapshot).collect::<Result<_, _>>()?;
    let more = usize::try_from(there).is_ok_and(|there| there > snapshots.len());
    let next = if more {
        snapshots.last().map(Cursor::after)
    } else {
        None
    };
    Ok(HistoryPage { snapshots, next })
}

/// A page ends with the row that brings it to this many bytes of metadata and tracks, however many rows were asked for.
const FULL_PAGE_BYTES: i64 = 8 << 20;

struct Row {
    /// How many rows there are, up to one more than the limit; those that no longer fit among them.
    found: i64,
    user_id: String,
    room_id: String,
    peer_id: String,
    id: Uuid,
    source: String,
    metadata_raw: Option<Vec<u8>>,
    name: Option<String>,
    role: Option<String>,
    tracks: Option<String>,
    joined_at: Option<DateTime<Utc>>,
    first_observed_at: DateTime<Utc>,
    last_observed_at: DateTime<Utc>,
}

impl Row {
    fn snapshot(self) -> Result<Snapshot, sqlx::Error> {
        Ok(Snapshot {
            id: self.id,
            key: rows::key(&self.user_id, &self.room_id, &self.peer_id)?,
            name: rows::label(self.name),
            role: rows::label(self.role),
            metadata: rows::metadata(self.metadata_raw)?,
            tracks: self.tracks.map(Tracks::from_canonical),
            joined_at: self.joined_at.map(Into::into),
            first_observed_at: self.first_observed_at.into(),
            last_observed_at: self.last_observed_at.into(),
            source: rows::source(&self.source)?,
        })
    }
}

/// The rows of `$newest`, which has one more than the limit so that it tells whether there is a next page, newest first, as
/// far as they fit a page. `$full` is the argument that says how much that is.
macro_rules! page {
    ($newest:tt, $full:tt, $($argument:expr),+ $(,)?) => {
        query_as!(
            Row,
            r#"SELECT page.found AS "found!", page.user_id, page.room_id, page.peer_id, page.id, page.source,
                      page.metadata_raw, page.name, page.role, page.tracks::text AS tracks, page.joined_at,
                      page.first_observed_at, page.last_observed_at
               FROM (
                   SELECT newest.*, count(*) OVER () AS found,
                          sum(coalesce(octet_length(newest.metadata_raw), 0) + coalesce(octet_length(newest.tracks::text), 0))
                              OVER (ORDER BY newest.first_observed_at DESC, newest.id DESC
                                    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
                   FROM ("# + $newest + ") AS newest
               ) AS page
               WHERE coalesce(page.before, 0) < " + $full + "
               ORDER BY page.first_observed_at DESC, page.id DESC",
            $($argument),+
        )
    };
}

/// Reads the primary key from its newest end.
async fn between(
    connection: &mut PgConnection,
    query: &HistoryQuery,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
) -> Result<Vec<Row>, sqlx::Error> {
    page!(
        "SELECT * FROM snapshots
         WHERE user_id = $1
           AND ($2::text IS NULL OR room_id = $2)
           AND ($3::text IS NULL OR peer_id = $3)
           AND ($4::timestamptz IS NULL OR first_observed_at >= $4)
           AND ($5::timestamptz IS NULL OR first_observed_at < $5)
           AND ($6::timestamptz IS NULL OR (first_observed_at, id) < ($6, $7::uuid))
         ORDER BY first_observed_at DESC, id DESC
         LIMIT $8",
        "$9",
        query.user_id.as_str(),
        query.room_id.as_ref().map(RoomId::as_str),
        query.peer_id.as_ref().map(PeerId::as_str),
        since.map(Timestamp::to_utc),
        until.map(Timestamp::to_utc),
        query.after.map(|cursor| cursor.first_observed_at.to_utc()),
        query.after.map(|cursor| cursor.id),
        i64::from(query.limit) + 1,
        FULL_PAGE_BYTES,
    )
    .fetch_all(connection)
    .await
}

/// Of each peer the row that was last seen at or before the instant.
///
/// A row that arrived late can lie within the time of another: then the one that was seen on both sides of the instant,
/// or nearest before it, is the one in force. The view `snapshot_history` says the same.
async fn in_force(
    connection: &mut PgConnection,
    query: &HistoryQuery,
    at: Timestamp,
) -> Result<Vec<Row>, sqlx::Error> {
    page!(
        "SELECT there.* FROM peers
         CROSS JOIN LATERAL (
             SELECT * FROM snapshots s
             WHERE s.user_id = peers.user_id AND s.room_id = peers.room_id AND s.peer_id = peers.peer_id
               AND s.first_observed_at <= $4
             ORDER BY LEAST(s.last_observed_at, $4) DESC, s.first_observed_at, s.last_observed_at DESC, s.id DESC
             LIMIT 1
         ) AS there
         WHERE peers.user_id = $1
           AND ($2::text IS NULL OR peers.room_id = $2)
           AND ($3::text IS NULL OR peers.peer_id = $3)
           AND ($5::timestamptz IS NULL OR (there.first_observed_at, there.id) < ($5, $6::uuid))
         ORDER BY there.first_observed_at DESC, there.id DESC
         LIMIT $7",
        "$8",
        query.user_id.as_str(),
        query.room_id.as_ref().map(RoomId::as_str),
        query.peer_id.as_ref().map(PeerId::as_str),
        at.to_utc(),
        query.after.map(|cursor| cursor.first_observed_at.to_utc()),
        query.after.map(|cursor| cursor.id),
        i64::from(query.limit) + 1,
        FULL_PAGE_BYTES,
    )
    .fetch_all(connection)
    .await
}
