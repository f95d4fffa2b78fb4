//! Instants, and the clock they come from. Every ordering in the service compares [`Timestamp`]s.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Datelike, SecondsFormat, TimeDelta, Utc};

/// An instant in UTC, in whole microseconds as Postgres stores them. Finer digits are cut off.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(DateTime<Utc>);

impl Timestamp {
    /// The instant, cut to whole microseconds.
    pub fn new(at: DateTime<Utc>) -> Self {
        Self(
            DateTime::from_timestamp_micros(at.timestamp_micros())
                .expect("the same instant or a little earlier is in range"),
        )
    }

    /// Reads RFC 3339, in any offset.
    pub fn parse(text: &str) -> Option<Self> {
        DateTime::parse_from_rfc3339(text)
            .ok()
            .map(|at| Self::new(at.to_utc()))
    }

    /// Reads a time of 100ms, which writes `0001-01-01T00:00:00Z` for none. A text that is no time
    /// counts as none too.
    pub fn parse_upstream(text: &str) -> Option<Self> {
        Self::parse(text).filter(|at| at.0.year() > 1)
    }

    /// The instant for sqlx and for calendar arithmetic.
    pub fn to_utc(self) -> DateTime<Utc> {
        self.0
    }

    /// Whole seconds from `earlier` to this instant; 0 when `earlier` is later.
    pub fn seconds_since(self, earlier: Self) -> u64 {
        self.since(earlier).as_secs()
    }

    /// The time from `earlier` to this instant; none when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        (self.0 - earlier.0).to_std().unwrap_or_default()
    }

    /// This instant plus `delta`, or itself where that would leave the calendar.
    #[must_use]
    pub fn shifted(self, delta: TimeDelta) -> Self {
        self.0.checked_add_signed(delta).map_or(self, Self)
    }
}

impl Default for Timestamp {
    /// The start of the Unix epoch.
    fn default() -> Self {
        Self(DateTime::UNIX_EPOCH)
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(at: DateTime<Utc>) -> Self {
        Self::new(at)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The text is no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it should be a time as in RFC 3339, such as 2026-03-01T14:03:00Z")]
pub struct InvalidTime;

impl std::str::FromStr for Timestamp {
    type Err = InvalidTime;

    /// Reads RFC 3339. In a query string a `+` decodes to a space, so a space counts as a `+`.
    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        let (date, time) = text.split_at_checked(11).ok_or(InvalidTime)?;
        Self::parse(&format!("{date}{}", time.replace(' ', "+"))).ok_or(InvalidTime)
    }
}

/// Where the present instant comes from: the system, or a test that controls the time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The machine's clock.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the machine's clock"
    )]
    pub fn system() -> Self {
        Self::from_fn(|| Timestamp::new(Utc::now()))
    }

    /// A clock that asks `now`.
    pub fn from_fn(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The present instant.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_cut_to_microseconds_and_written_as_rfc3339() {
        let at = Timestamp::parse("2026-03-01T12:00:00.123456789+02:00").unwrap();
        assert_eq!(at.to_string(), "2026-03-01T10:00:00.123456Z");
    }

    #[test]
    fn the_zero_time_and_a_text_that_is_no_time_are_none() {
        for none in [
            "0001-01-01T00:00:00Z",
            "",
            "yesterday",
            "20XX-01-01T00:00:00Z",
        ] {
            assert_eq!(Timestamp::parse_upstream(none), None, "{none}");
        }
        assert!(Timestamp::parse_upstream("1970-01-01T00:00:00Z").is_some());
    }

    #[test]
    fn the_time_since_a_later_instant_is_none() {
        let at = |text| Timestamp::parse(text).unwrap();
        let (earlier, later) = (at("2026-03-01T10:00:00Z"), at("2026-03-01T10:01:01.5Z"));
        assert_eq!(later.since(earlier), Duration::from_millis(61_500));
        assert_eq!(later.seconds_since(earlier), 61);
        assert_eq!(earlier.since(later), Duration::ZERO);
        assert_eq!(earlier.seconds_since(later), 0);
    }

    #[test]
    fn a_time_in_a_query_or_a_body_is_rfc3339_with_a_space_for_a_plus() {
        let expected = Timestamp::parse("2026-03-01T10:00:00Z").unwrap();
        for text in [
            "2026-03-01T10:00:00Z",
            "2026-03-01T12:00:00+02:00",
            "2026-03-01T12:00:00 02:00",
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
            let json = format!("\"{text}\"");
            assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), expected);
        }
        for text in ["", "2026-03-01", "2026-03-01T25:00:00Z", "2026-03-01⚔"] {
            assert_eq!(text.parse::<Timestamp>(), Err(InvalidTime), "{text}");
        }
    }

    #[test]
    fn a_clock_says_what_it_was_made_from() {
        let at = Timestamp::parse("2026-03-01T10:00:00Z").unwrap();
        let clock = Clock::from_fn(move || at);
        assert_eq!(clock.now(), at);
        assert_eq!(format!("{clock:?}"), "Clock(2026-03-01T10:00:00.000000Z)");
        assert_eq!(format!("{at:?}"), at.to_string());
    }
}
