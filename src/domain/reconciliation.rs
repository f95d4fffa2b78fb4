//! Reconciliations: what was lost while no replica could receive webhooks is asked for again.

use std::sync::Arc;

use chrono::TimeDelta;
use uuid::Uuid;

use super::{ProblemCode, Timestamp, named};

/// How far back 100ms replays: 30 days, less what an answer may take.
const MAX_AGE: TimeDelta = TimeDelta::minutes(30 * 24 * 60 - 5);
/// The longest time of one replay.
const MAX_PIECE: TimeDelta = TimeDelta::days(14);
/// What is asked for beyond the gap on both sides: events are dated by when they happened, and are
/// tried again for a while.
const MARGIN: TimeDelta = TimeDelta::minutes(1);

/// A time in which no replica could receive webhooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconciliation {
    /// Its id.
    pub id: Uuid,
    /// The last sign of life before.
    pub since: Timestamp,
    /// The first after it.
    pub until: Timestamp,
    /// Which attempt this is. Once another is taken, this one ends nothing any more.
    pub attempts: i32,
}

/// A reconciliation as callers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReconciliationReport {
    /// Its id.
    pub id: Uuid,
    /// The start of the time.
    pub since: Timestamp,
    /// Its end.
    pub until: Timestamp,
    /// Whether somebody asked for it, and not a gap in the signs of life.
    pub manual: bool,
    /// The name of the API key that asked for it.
    pub requested_by: Option<Arc<str>>,
    /// How far it is.
    pub state: ReconciliationState,
    /// When it was finished.
    pub finished_at: Option<Timestamp>,
    /// What came of it so far; none before a replica takes it.
    pub reconciled: Option<Reconciled>,
}

named! {
    /// How far a reconciliation is.
    pub enum ReconciliationState {
        /// No replica has taken it yet.
        Waiting = "waiting",
        /// A replica works on it.
        Running = "running",
        /// It is finished.
        Finished = "finished",
    }
}

/// What came of a reconciliation so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// How many events 100ms sent again.
    pub replayed: u64,
    /// How many of them failed again.
    pub not_replayed: u64,
    /// How many active rooms were looked at.
    pub rooms: u32,
    /// How many peers were saved.
    pub peers: u64,
    /// Of how many of them something had changed.
    pub changes: u64,
    /// How many peers counted as connected and had left.
    pub corrected: u64,
    /// What could not be done.
    pub problem: Option<ProblemCode>,
}

impl Reconciliation {
    /// The times that 100ms is to replay, each from the first to the second, as it accepts them: of the
    /// last 30 days, in pieces of 14, and not of the future.
    pub fn pieces(&self, now: Timestamp) -> Vec<(Timestamp, Timestamp)> {
        let mut start = self.since.shifted(-MARGIN).max(now.shifted(-MAX_AGE));
        let end = self.until.shifted(MARGIN).min(now);
        let mut pieces = Vec::new();
        while start < end {
            let piece_end = end.min(start.shifted(MAX_PIECE));
            pieces.push((start, piece_end));
            start = piece_end;
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn pieces(since: &str, until: &str) -> Vec<[String; 2]> {
        let reconciliation = Reconciliation {
            id: Uuid::nil(),
            since: at(since),
            until: at(until),
            attempts: 1,
        };
        let pieces = reconciliation.pieces(at("2026-03-31T12:00:00Z"));
        let text = |at: Timestamp| at.to_string()[..16].to_owned();
        pieces
            .into_iter()
            .map(|(start, end)| [text(start), text(end)])
            .collect()
    }

    #[test]
    fn a_gap_is_asked_for_with_a_minute_on_both_sides() {
        assert_eq!(
            pieces("2026-03-31T10:00:00Z", "2026-03-31T11:00:00Z"),
            [["2026-03-31T09:59", "2026-03-31T11:01"]]
        );
        // Not of the future.
        assert_eq!(
            pieces("2026-03-31T11:59:00Z", "2026-03-31T12:00:00Z"),
            [["2026-03-31T11:58", "2026-03-31T12:00"]]
        );
    }

    #[test]
    fn a_long_gap_is_asked_for_in_pieces_of_14_days_and_of_the_last_30() {
        assert_eq!(
            pieces("2025-01-01T00:00:00Z", "2026-03-31T11:00:00Z"),
            [
                ["2026-03-01T12:05", "2026-03-15T12:05"],
                ["2026-03-15T12:05", "2026-03-29T12:05"],
                ["2026-03-29T12:05", "2026-03-31T11:01"],
            ]
        );
        assert_eq!(
            pieces("2025-01-01T00:00:00Z", "2025-01-02T00:00:00Z"),
            [[""; 2]; 0]
        );
    }
}
