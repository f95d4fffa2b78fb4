//! Rows as arrays of columns, as `unnest` takes them.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::{Label, Presence, RestoreMark, Snapshot, Timestamp, Tracks};

/// The columns that `peers` and `snapshots` share, one entry for each row.
#[derive(Default)]
pub(super) struct SnapshotColumns<'a> {
    pub(super) user_id: Vec<&'a str>,
    pub(super) room_id: Vec<&'a str>,
    pub(super) peer_id: Vec<&'a str>,
    pub(super) id: Vec<Uuid>,
    pub(super) source: Vec<&'a str>,
    pub(super) metadata_raw: Vec<Option<&'a [u8]>>,
    pub(super) name: Vec<Option<&'a str>>,
    pub(super) role: Vec<Option<&'a str>>,
    pub(super) tracks: Vec<Option<&'a str>>,
    pub(super) joined_at: Vec<Option<DateTime<Utc>>>,
    pub(super) first_observed_at: Vec<DateTime<Utc>>,
    pub(super) last_observed_at: Vec<DateTime<Utc>>,
}

impl<'a> SnapshotColumns<'a> {
    pub(super) fn new(rows: impl IntoIterator<Item = &'a Snapshot>) -> Self {
        let mut columns = Self::default();
        for row in rows {
            columns.push(row);
        }
        columns
    }

    pub(super) fn push(&mut self, row: &'a Snapshot) {
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

/// The columns of `peers` that describe the presence, one entry for each row.
#[derive(Default)]
pub(super) struct PresenceColumns<'a> {
    pub(super) connected_since: Vec<Option<DateTime<Utc>>>,
    pub(super) session_id: Vec<Option<&'a str>>,
    pub(super) ended_at: Vec<Option<DateTime<Utc>>>,
    pub(super) end_kind: Vec<Option<&'a str>>,
    pub(super) end_reason: Vec<Option<&'a str>>,
}

impl<'a> PresenceColumns<'a> {
    pub(super) fn new(rows: impl IntoIterator<Item = &'a Presence>) -> Self {
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

/// The columns of `peers` that hold the restore mark, one entry for each row.
#[derive(Default)]
pub(super) struct RestoredColumns {
    pub(super) at: Vec<Option<DateTime<Utc>>>,
    pub(super) change: Vec<Option<Uuid>>,
    pub(super) changed_at: Vec<Option<DateTime<Utc>>>,
}

impl RestoredColumns {
    pub(super) fn new(rows: impl IntoIterator<Item = Option<RestoreMark>>) -> Self {
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
