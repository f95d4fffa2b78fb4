//! Rows as columns: what `unnest` takes.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::{Label, Presence, RestoreMark, Snapshot, Timestamp, Tracks};

/// The columns that `peers` and `snapshots` share, one entry a row.
#[derive(Default)]
pub(in crate::store) struct Columns<'a> {
    pub(in crate::store) user_id: Vec<&'a str>,
    pub(in crate::store) room_id: Vec<&'a str>,
    pub(in crate::store) peer_id: Vec<&'a str>,
    pub(in crate::store) id: Vec<Uuid>,
    pub(in crate::store) source: Vec<&'a str>,
    pub(in crate::store) metadata_raw: Vec<Option<&'a [u8]>>,
    pub(in crate::store) name: Vec<Option<&'a str>>,
    pub(in crate::store) role: Vec<Option<&'a str>>,
    pub(in crate::store) tracks: Vec<Option<&'a str>>,
    pub(in crate::store) joined_at: Vec<Option<DateTime<Utc>>>,
    pub(in crate::store) first_observed_at: Vec<DateTime<Utc>>,
    pub(in crate::store) last_observed_at: Vec<DateTime<Utc>>,
}

impl<'a> Columns<'a> {
    pub(in crate::store) fn of(rows: impl IntoIterator<Item = &'a Snapshot>) -> Self {
        let mut columns = Self::default();
        for row in rows {
            columns.push(row);
        }
        columns
    }

    fn push(&mut self, row: &'a Snapshot) {
        self.user_id.push(row.key.user_id.as_str());
        self.room_id.push(row.key.room_id.as_str());
        self.peer_id.push(row.key.peer_id.as_str());
        self.id.push(row.id);
        self.source.push(row.source.as_str());
        self.metadata_raw
            .push(row.metadata.raw().map(str::as_bytes));
        self.name.push(row.name.as_ref().map(Label::as_str));
        self.role.push(row.role.as_ref().map(Label::as_str));
        self.tracks.push(row.tracks.as_ref().map(Tracks::as_str));
        self.joined_at.push(row.joined_at.map(Timestamp::to_utc));
        self.first_observed_at.push(row.first_observed_at.to_utc());
        self.last_observed_at.push(row.last_observed_at.to_utc());
    }
}

/// The columns of `peers` that tell the presence, one entry a row.
#[derive(Default)]
pub(in crate::store) struct PresenceColumns<'a> {
    pub(in crate::store) connected_since: Vec<Option<DateTime<Utc>>>,
    pub(in crate::store) session_id: Vec<Option<&'a str>>,
    pub(in crate::store) ended_at: Vec<Option<DateTime<Utc>>>,
    pub(in crate::store) end_kind: Vec<Option<&'a str>>,
    pub(in crate::store) end_reason: Vec<Option<&'a str>>,
}

impl<'a> PresenceColumns<'a> {
    pub(in crate::store) fn of(rows: impl IntoIterator<Item = &'a Presence>) -> Self {
        let mut columns = Self::default();
        for Presence {
            connected_since,
            session_id,
            ended,
        } in rows
        {
            let ended = ended.as_ref();
            columns
                .connected_since
                .push(connected_since.map(Timestamp::to_utc));
            columns
                .session_id
                .push(session_id.as_ref().map(Label::as_str));
            columns.ended_at.push(ended.map(|end| end.at.to_utc()));
            columns.end_kind.push(ended.map(|end| end.kind.as_str()));
            columns
                .end_reason
                .push(ended.and_then(|end| end.reason.as_ref().map(Label::as_str)));
        }
        columns
    }
}

/// The columns of `peers` that mark what was sent back to it, one entry a row.
#[derive(Default)]
pub(in crate::store) struct RestoredColumns {
    pub(in crate::store) at: Vec<Option<DateTime<Utc>>>,
    pub(in crate::store) change: Vec<Option<Uuid>>,
    pub(in crate::store) changed_at: Vec<Option<DateTime<Utc>>>,
}

impl RestoredColumns {
    pub(in crate::store) fn of(rows: impl IntoIterator<Item = Option<RestoreMark>>) -> Self {
        let mut columns = Self::default();
        for mark in rows {
            columns.at.push(mark.map(|mark| mark.at.to_utc()));
            columns.change.push(mark.map(|mark| mark.change.as_uuid()));
            columns
                .changed_at
                .push(mark.map(|mark| mark.changed_at.to_utc()));
        }
        columns
    }
}
