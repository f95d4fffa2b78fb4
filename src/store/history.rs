//! History: the snapshots of a user, newest first, or what was current at an instant.

use std::fmt;

use chrono::{DateTime, Datelike, Utc};
use sqlx::{PgConnection, query_file_as};
use uuid::Uuid;

use super::connections::Statement;
use super::rows;
use crate::domain::{PeerId, RoomId, Snapshot, Timestamp, Tracks, UserId};

/// A page ends with the row that brings it to this many bytes of metadata and tracks, however many
/// rows are wanted.
const FULL_PAGE_BYTES: i64 = 8 << 20;

/// Which snapshots are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryQuery {
    /// The user.
    pub user_id: UserId,
    /// Only of this room.
    pub room_id: Option<RoomId>,
    /// Only of this peer.
    pub peer_id: Option<PeerId>,
    /// Only of this time.
    pub span: Span,
    /// How many snapshots at most, from 1.
    pub limit: u16,
    /// The last snapshot of the page before.
    pub after: Option<Cursor>,
}

/// Which time of the history is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// Snapshots first observed from `since` on and before `until`.
    Between {
        /// The earliest instant.
        since: Option<Timestamp>,
        /// The instant after the latest.
        until: Option<Timestamp>,
    },
    /// What was current at this instant, one snapshot for each peer.
    At(Timestamp),
}

/// A position in the history, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    first_observed_at: Timestamp,
    id: Uuid,
}

impl Cursor {
    /// Reads what `Display` writes. Nothing is observed outside of the years 0 to 9999, which
    /// Postgres can store.
    pub fn parse(text: &str) -> Option<Self> {
        let (micros, id) = text.split_once('_')?;
        let at = DateTime::from_timestamp_micros(micros.parse().ok()?)
            .filter(|at| (0..=9_999).contains(&at.year()))?;
        let cursor = Self {
            first_observed_at: at.into(),
            id: Uuid::try_parse(id).ok()?,
        };
        Some(cursor).filter(|cursor| cursor.to_string() == text)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.first_observed_at.to_utc().timestamp_micros();
        write!(f, "{micros}_{}", self.id.simple())
    }
}

/// A page of history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPage {
    /// Newest first.
    pub snapshots: Vec<Snapshot>,
    /// Where the next page begins; none on the last page.
    pub next: Option<Cursor>,
}

impl Statement for HistoryQuery {
    type Output = HistoryPage;

    async fn run(&self, connection: &mut PgConnection) -> Result<HistoryPage, sqlx::Error> {
        let rows = match self.span {
            Span::Between { since, until } => self.between(connection, since, until).await?,
            Span::At(at) => self.current_at(connection, at).await?,
        };
        let found = rows.first().map_or(0, |row| row.found);
        let on_page = rows.len().min(usize::from(self.limit));
        let has_more = usize::try_from(found).is_ok_and(|found| found > on_page);
        let last = rows[..on_page].last().map(Row::cursor);
        let snapshots = rows
            .into_iter()
            .take(on_page)
            .filter_map(|row| rows::readable(row.into_snapshot(), "history"))
            .collect();
        Ok(HistoryPage {
            snapshots,
            next: last.filter(|_| has_more),
        })
    }
}

impl HistoryQuery {
    async fn between(
        &self,
        connection: &mut PgConnection,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<Vec<Row>, sqlx::Error> {
        query_file_as!(
            Row,
            "src/store/queries/history_between.sql",
            self.user_id.as_str(),
            self.room_id.as_ref().map(RoomId::as_str),
            self.peer_id.as_ref().map(PeerId::as_str),
            since.map(Timestamp::to_utc),
            until.map(Timestamp::to_utc),
            self.after.map(|cursor| cursor.first_observed_at.to_utc()),
            self.after.map(|cursor| cursor.id),
            i64::from(self.limit) + 1,
            FULL_PAGE_BYTES,
        )
        .fetch_all(connection)
        .await
    }

    async fn current_at(
        &self,
        connection: &mut PgConnection,
        at: Timestamp,
    ) -> Result<Vec<Row>, sqlx::Error> {
        query_file_as!(
            Row,
            "src/store/queries/history_at.sql",
            self.user_id.as_str(),
            self.room_id.as_ref().map(RoomId::as_str),
            self.peer_id.as_ref().map(PeerId::as_str),
            at.to_utc(),
            self.after.map(|cursor| cursor.first_observed_at.to_utc()),
            self.after.map(|cursor| cursor.id),
            i64::from(self.limit) + 1,
            FULL_PAGE_BYTES,
        )
        .fetch_all(connection)
        .await
    }
}

struct Row {
    /// How many rows were read, up to one more than the limit, even if not all of them fit.
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
    fn cursor(&self) -> Cursor {
        Cursor {
            first_observed_at: self.first_observed_at.into(),
            id: self.id,
        }
    }

    fn into_snapshot(self) -> Result<Snapshot, sqlx::Error> {
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
