//! Rows as arrays of columns, as `unnest` takes them.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::{
    Change, CurrentRow, Label, PeerState, Presence, RestoreMark, Row, Snapshot, Timestamp, Tracks,
};

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
    pub(super) answered_at: Vec<Option<DateTime<Utc>>>,
    pub(super) at: Vec<Option<DateTime<Utc>>>,
    pub(super) change: Vec<Option<Uuid>>,
    pub(super) changed_at: Vec<Option<DateTime<Utc>>>,
}

impl RestoredColumns {
    pub(super) fn new(rows: impl IntoIterator<Item = Option<RestoreMark>>) -> Self {
        let mut columns = Self::default();
        for mark in rows {
            columns.at.push(mark.map(|mark| mark.at.to_utc()));
            let answered_at = mark.and_then(|mark| mark.answered_at);
            columns.answered_at.push(answered_at.map(Timestamp::to_utc));
            columns.change.push(mark.map(|mark| mark.change.as_uuid()));
            columns
                .changed_at
                .push(mark.map(|mark| mark.changed_at.to_utc()));
        }
        columns
    }
}

/// The columns of `peers` that describe the latest change and what came before it, one entry for
/// each row.
#[derive(Default)]
pub(super) struct ChangeColumns {
    pub(super) changed_at: Vec<Option<DateTime<Utc>>>,
    pub(super) id: Vec<Option<Uuid>>,
    pub(super) observed_at: Vec<Option<DateTime<Utc>>>,
    pub(super) other_until: Vec<Option<DateTime<Utc>>>,
    pub(super) preceded_at: Vec<Option<DateTime<Utc>>>,
    pub(super) join_metadata: Vec<Option<Uuid>>,
}

impl ChangeColumns {
    pub(super) fn new<'a>(states: impl IntoIterator<Item = &'a PeerState>) -> Self {
        let mut columns = Self::default();
        for state in states {
            let change: Option<Change> = state.change;
            let current: Option<&CurrentRow> = state.current.as_ref();
            let time = |at: Option<Timestamp>| at.map(Timestamp::to_utc);
            columns.changed_at.push(time(state.changed_at));
            columns.id.push(change.map(|change| change.id.as_uuid()));
            let observed_at = change.map(|change| change.observed_at);
            columns.observed_at.push(time(observed_at));
            let other_until = change.and_then(|change| change.other_until);
            columns.other_until.push(time(other_until));
            let preceded_at = current.and_then(|current| current.preceded_at);
            columns.preceded_at.push(time(preceded_at));
            columns.join_metadata.push(state.join_metadata);
        }
        columns
    }
}

/// Times as an array of Postgres in text; none where there are none. `unnest` takes arrays of one
/// dimension only.
pub(super) fn array_text(times: &[Timestamp]) -> Option<String> {
    if times.is_empty() {
        return None;
    }
    let times: Vec<String> = times.iter().map(Timestamp::to_string).collect();
    Some(format!("{{{}}}", times.join(",")))
}

/// Rows of history with their repeats, one entry for each.
#[derive(Default)]
pub(super) struct RowColumns<'a> {
    pub(super) snapshots: SnapshotColumns<'a>,
    pub(super) repeats: Vec<Option<String>>,
}

impl<'a> RowColumns<'a> {
    pub(super) fn push(&mut self, row: &'a Row) {
        self.snapshots.push(&row.snapshot);
        self.repeats.push(array_text(&row.repeats));
    }
}
