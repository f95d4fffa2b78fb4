//! Watches: rooms that are looked at regularly, and single fetches that an event makes worth it.

use std::sync::Arc;
use std::time::Duration;

use super::{PeerId, ProblemCode, RoomId, Timestamp, UserId, named};

/// How often a room may be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchInterval(Duration);

/// The text is no interval of looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it should be a duration from 5s to 1h such as 30s")]
pub struct InvalidInterval;

impl WatchInterval {
    /// The interval where none is given: 30 seconds.
    pub const DEFAULT: Self = Self(Duration::from_secs(30));
    const SHORTEST: Duration = Duration::from_secs(5);
    const LONGEST: Duration = Duration::from_hours(1);

    /// The interval of that length, if rooms may be looked at so often.
    pub fn new(every: Duration) -> Option<Self> {
        let is_allowed = (Self::SHORTEST..=Self::LONGEST).contains(&every);
        is_allowed.then_some(Self(every))
    }

    /// Its length.
    pub fn length(self) -> Duration {
        self.0
    }
}

impl std::str::FromStr for WatchInterval {
    type Err = InvalidInterval;

    /// Reads a whole number of seconds, minutes or hours: `30s`, `5m` or `1h`.
    fn from_str(text: &str) -> Result<Self, InvalidInterval> {
        let (number, unit) = text
            .split_at_checked(text.len().saturating_sub(1))
            .ok_or(InvalidInterval)?;
        let unit = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            _ => return Err(InvalidInterval),
        };
        let is_plain = number.bytes().all(|byte| byte.is_ascii_digit()) && !number.starts_with('0');
        let number: u32 = number.parse().map_err(|_| InvalidInterval)?;
        let every = Duration::from_secs(u64::from(number) * unit);
        Self::new(every).filter(|_| is_plain).ok_or(InvalidInterval)
    }
}

impl std::fmt::Display for WatchInterval {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.0.as_secs();
        match (seconds % 3_600, seconds % 60) {
            (0, _) => write!(f, "{}h", seconds / 3_600),
            (_, 0) => write!(f, "{}m", seconds / 60),
            _ => write!(f, "{seconds}s"),
        }
    }
}

/// A room that is looked at regularly.
#[derive(Debug, Clone, PartialEq)]
pub struct Watch {
    /// The room.
    pub room_id: RoomId,
    /// How often.
    pub every: WatchInterval,
    /// When the watch ends, at the latest.
    pub until: Option<Timestamp>,
    /// The name of the API key that asked for it.
    pub requested_by: Option<Arc<str>>,
    /// Whether it began because the room became active.
    pub automatic: bool,
    /// When it began.
    pub started_at: Timestamp,
    /// What it is doing.
    pub state: WatchState,
    /// When the next look is scheduled.
    pub next_look_at: Timestamp,
    /// By how much that look is late; zero before its time.
    pub late_by: Duration,
    /// The last look.
    pub last_look: Option<LastLook>,
}

named! {
    /// What a watch is doing.
    pub enum WatchState {
        /// It waits for its next look, which is late by at most one interval.
        Waiting = "waiting",
        /// A replica looks at the room.
        Looking = "looking",
        /// Its next look is late by more than one interval.
        Late = "late",
    }
}

impl WatchState {
    /// The state of a watch whose next look is late by so much.
    pub fn of(looking: bool, late_by: Duration, every: WatchInterval) -> Self {
        match looking {
            true => Self::Looking,
            false if late_by > every.length() => Self::Late,
            false => Self::Waiting,
        }
    }
}

/// A look at a room that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastLook {
    /// When it ended.
    pub at: Timestamp,
    /// How it ended.
    pub outcome: LookOutcome,
    /// How many peers it saved.
    pub peers: u32,
    /// Of how many of them something had changed.
    pub changes: u32,
}

/// How a look ended: well, or with this problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LookOutcome(pub Option<ProblemCode>);

impl LookOutcome {
    /// It ended well.
    pub const OK: Self = Self(None);

    /// The name: `ok`, or the problem code.
    pub fn as_str(self) -> &'static str {
        self.0.map_or("ok", ProblemCode::as_str)
    }

    /// The outcome of that name.
    pub fn parse(name: &str) -> Option<Self> {
        if name == Self::OK.as_str() {
            return Some(Self::OK);
        }
        ProblemCode::parse(name).map(|code| Self(Some(code)))
    }

    /// Whether the room was active; none where the look does not know.
    pub fn room_was_active(self) -> Option<bool> {
        match self.0 {
            None => Some(true),
            Some(ProblemCode::RoomNotActive) => Some(false),
            Some(_) => None,
        }
    }
}

/// A room that a worker has taken to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The room.
    pub room_id: RoomId,
    /// Which look at it this is. Once another is taken, this one ends nothing any more.
    pub number: i64,
}

/// Peers of one user that an event makes worth fetching at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchJob {
    /// The room.
    pub room_id: RoomId,
    /// The user.
    pub user_id: UserId,
    /// The peer; none for all peers of the user in the room.
    pub peer_id: Option<PeerId>,
    /// When the event was.
    pub event_at: Timestamp,
    /// How often the job was taken.
    pub attempts: i32,
    /// How long ago it was queued.
    pub age: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_from_five_seconds_to_an_hour() {
        for (text, seconds) in [
            ("5s", Some(5)),
            ("30s", Some(30)),
            ("2m", Some(120)),
            ("1h", Some(3_600)),
            ("90s", Some(90)),
            ("3600s", Some(3_600)),
            ("4s", None),
            ("6000ms", None),
            ("1m 30s", None),
            ("05s", None),
            ("+5s", None),
            ("5s\n", None),
            ("⚔", None),
            ("99999999999s", None),
            ("61m", None),
            ("0s", None),
            ("30", None),
            ("", None),
            ("often", None),
        ] {
            let every = text.parse::<WatchInterval>().ok();
            assert_eq!(
                every.map(WatchInterval::length),
                seconds.map(Duration::from_secs),
                "{text}"
            );
        }
        for text in ["7s", "90s", "2m", "1h"] {
            assert_eq!(text.parse::<WatchInterval>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_watch_is_late_after_a_whole_interval() {
        let every = WatchInterval::DEFAULT;
        for (looking, seconds, state) in [
            (false, 0, WatchState::Waiting),
            (false, 30, WatchState::Waiting),
            (false, 31, WatchState::Late),
            (true, 31, WatchState::Looking),
        ] {
            assert_eq!(
                WatchState::of(looking, Duration::from_secs(seconds), every),
                state
            );
        }
    }

    #[test]
    fn every_outcome_is_found_by_its_name() {
        for code in ProblemCode::ALL.iter().copied().map(Some).chain([None]) {
            let outcome = LookOutcome(code);
            assert_eq!(LookOutcome::parse(outcome.as_str()), Some(outcome));
        }
        assert_eq!(LookOutcome::parse("fine"), None);
        assert_eq!(LookOutcome::OK.room_was_active(), Some(true));
        let inactive = LookOutcome(Some(ProblemCode::RoomNotActive));
        assert_eq!(inactive.room_was_active(), Some(false));
        let failed = LookOutcome(Some(ProblemCode::UpstreamTimeout));
        assert_eq!(failed.room_was_active(), None);
    }
}
