//! Reconciliations: what was lost while no replica could receive webhooks is asked for again.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use chrono::TimeDelta;
use uuid::Uuid;

use super::{ProblemCode, Timestamp, named};

/// How far back 100ms replays: 30 days, less for how long a request may be repeated.
const MAX_AGE: TimeDelta = TimeDelta::minutes(30 * 24 * 60 - 15);
/// The longest time of one replay.
const MAX_PIECE: TimeDelta = TimeDelta::days(14);
/// 100ms shows whole seconds, and a replay has two different ones.
const MIN_PIECE: TimeDelta = TimeDelta::seconds(1);
/// What is asked for beyond the gap on both sides: events are dated by when they happened, and are
/// tried again for a while.
const MARGIN: TimeDelta = TimeDelta::minutes(1);
/// For how long there are more attempts, where something could not be done.
const MAX_ATTEMPTS_TIME: TimeDelta = TimeDelta::hours(24);

/// A time in which no replica could receive webhooks. All times are Postgres's, so that a replica whose
/// clock is wrong asks for the same as the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconciliation {
    /// Its id.
    pub id: Uuid,
    /// The last sign of life before.
    pub since: Timestamp,
    /// The first after it.
    pub until: Timestamp,
    /// When the first attempt began. Nothing after it is replayed, so that all attempts ask for the same.
    pub begun_at: Timestamp,
    /// When this attempt began.
    pub taken_at: Timestamp,
    /// Which attempt this is. Once another is taken, this one ends nothing any more.
    pub attempts: i32,
    /// The replays that attempts began: their workflows at 100ms by [`ReplayPiece`] as text.
    pub replays: HashMap<String, String>,
}

/// A part of the time of a reconciliation that one request has replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayPiece {
    /// From when on.
    pub start: Timestamp,
    /// Until when.
    pub end: Timestamp,
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
    /// When it is tried again, where it waits because something could not be done.
    pub next_attempt_at: Option<Timestamp>,
    /// When it was finished.
    pub finished_at: Option<Timestamp>,
    /// What came of it so far; none before a replica takes it.
    pub reconciled: Option<Reconciled>,
}

named! {
    /// How far a reconciliation is.
    pub enum ReconciliationState {
        /// No replica has taken it yet, or it is tried again later.
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
    /// The times that 100ms is to replay, newest first, as it accepts them: of the last 30 days, in pieces
    /// of 14, and not of the future.
    pub fn pieces(&self) -> Vec<ReplayPiece> {
        let oldest = self.taken_at.shifted(-MAX_AGE);
        let start = self.since.shifted(-MARGIN).max(oldest);
        let mut end = self.until.shifted(MARGIN).min(self.begun_at);
        let mut pieces = Vec::new();
        while start < end {
            let piece_start = end.shifted(-MAX_PIECE).max(start);
            pieces.push(ReplayPiece {
                start: piece_start,
                end,
            });
            end = piece_start;
        }
        pieces
    }

    /// Whether another attempt follows where something could not be done.
    pub fn is_tried_again(&self) -> bool {
        self.taken_at < self.begun_at.shifted(MAX_ATTEMPTS_TIME)
    }
}

impl ReplayPiece {
    /// Both halves, the newer first, where it can be halved.
    pub fn halves(self) -> Option<[Self; 2]> {
        let length = self.end.to_utc() - self.start.to_utc();
        let middle = self.start.shifted(length / 2);
        (length > MIN_PIECE * 2).then_some([
            Self {
                start: middle,
                ..self
            },
            Self {
                end: middle,
                ..self
            },
        ])
    }
}

/// An interval as of ISO 8601.
impl fmt::Display for ReplayPiece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    /// A reconciliation that was first taken at 2026-03-31T12:00, and now at this time.
    fn taken(since: &str, until: &str, taken_at: &str) -> Reconciliation {
        Reconciliation {
            id: Uuid::nil(),
            since: at(since),
            until: at(until),
            begun_at: at("2026-03-31T12:00:00Z"),
            taken_at: at(taken_at),
            attempts: 1,
            replays: HashMap::new(),
        }
    }

    fn texts(pieces: &[ReplayPiece]) -> Vec<[String; 2]> {
        let text = |at: Timestamp| at.to_string()[..16].to_owned();
        let texts = pieces
            .iter()
            .map(|piece| [text(piece.start), text(piece.end)]);
        texts.collect()
    }

    fn pieces(since: &str, until: &str) -> Vec<[String; 2]> {
        texts(&taken(since, until, "2026-03-31T12:00:00Z").pieces())
    }

    #[test]
    fn a_gap_is_asked_for_with_a_minute_on_both_sides() {
        assert_eq!(
            pieces("2026-03-31T10:00:00Z", "2026-03-31T11:00:00Z"),
            [["2026-03-31T09:59", "2026-03-31T11:01"]]
        );
        // Not of the future, as of the first attempt.
        let late = taken(
            "2026-03-31T11:59:00Z",
            "2026-03-31T12:00:00Z",
            "2026-03-31T18:00:00Z",
        );
        assert_eq!(
            texts(&late.pieces()),
            [["2026-03-31T11:58", "2026-03-31T12:00"]]
        );
    }

    #[test]
    fn a_long_gap_is_asked_for_in_pieces_of_14_days_and_of_the_last_30() {
        assert_eq!(
            pieces("2025-01-01T00:00:00Z", "2026-03-31T11:00:00Z"),
            [
                ["2026-03-17T11:01", "2026-03-31T11:01"],
                ["2026-03-03T11:01", "2026-03-17T11:01"],
                ["2026-03-01T12:15", "2026-03-03T11:01"],
            ]
        );
        // 100ms replays no more than 30 days at any attempt.
        let late = taken(
            "2025-01-01T00:00:00Z",
            "2026-03-31T11:00:00Z",
            "2026-04-01T12:00:00Z",
        );
        assert_eq!(
            texts(&late.pieces())[2],
            ["2026-03-02T12:15", "2026-03-03T11:01"]
        );
        assert_eq!(
            pieces("2025-01-01T00:00:00Z", "2025-01-02T00:00:00Z"),
            [[""; 2]; 0]
        );
    }

    #[test]
    fn a_piece_can_be_halved_down_to_seconds() {
        let piece = |start: &str, end: &str| ReplayPiece {
            start: at(start),
            end: at(end),
        };
        let hour = piece("2026-03-31T10:00:00Z", "2026-03-31T11:00:00Z");
        assert_eq!(
            texts(&hour.halves().unwrap()),
            [
                ["2026-03-31T10:30", "2026-03-31T11:00"],
                ["2026-03-31T10:00", "2026-03-31T10:30"],
            ]
        );
        let seconds = piece("2026-03-31T10:00:00Z", "2026-03-31T10:00:02Z");
        assert_eq!(seconds.halves(), None);
    }

    #[test]
    fn there_are_more_attempts_for_a_day() {
        let is_tried_again = |taken_at| {
            taken("2026-03-31T10:00:00Z", "2026-03-31T11:00:00Z", taken_at).is_tried_again()
        };
        assert!(is_tried_again("2026-04-01T11:59:00Z"));
        assert!(!is_tried_again("2026-04-01T12:00:00Z"));
    }
}
