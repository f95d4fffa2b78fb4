//! How long to pause between attempts: one rule for everything that tries again, and what
//! `Retry-After` asks for.
//!
//! Only the length of a pause is decided here. How many attempts are made, and by which deadline,
//! is up to the caller.

use std::time::Duration;

use ::http::HeaderMap;
use ::http::header::RETRY_AFTER;
use chrono::{DateTime, Utc};

/// Pauses that grow from one retry to the next, up to a longest one, with random jitter on top.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    /// The pause before the first retry.
    pub(crate) first: Duration,
    /// No pause is longer, jitter aside.
    pub(crate) longest: Duration,
    /// What each pause is multiplied by to get the next one.
    pub(crate) factor: u32,
    /// The largest fraction of a pause that is added to it at random, so that callers that failed
    /// together do not retry together.
    pub(crate) jitter: f64,
}

impl Backoff {
    /// The pause before this retry. The first retry is number 0.
    pub(crate) fn pause(&self, retry: u32) -> Duration {
        let pause = self
            .first
            .saturating_mul(self.factor.saturating_pow(retry))
            .min(self.longest);
        pause + rand::random_range(Duration::ZERO..=pause.mul_f64(self.jitter))
    }
}

/// The wait that `Retry-After` asks for: in seconds, or until an HTTP date. A wait of zero and a date
/// that has passed count as none.
pub(crate) fn requested_wait(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    seconds(value)
        .or_else(|| until(value, now))
        .filter(|wait| !wait.is_zero())
}

/// A wait in whole seconds.
pub(crate) fn seconds(text: &str) -> Option<Duration> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // A number that does not fit is a wait beyond any limit.
    digits.then(|| Duration::from_secs(text.parse().unwrap_or(u64::MAX)))
}

fn until(date: &str, now: DateTime<Utc>) -> Option<Duration> {
    let at = DateTime::parse_from_rfc2822(date).ok()?;
    (at.to_utc() - now).to_std().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = "2026-03-01T10:00:00Z".parse().unwrap();
        let wait = |value: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
            requested_wait(&headers, now)
        };
        for (value, seconds) in [
            ("7", 7),
            (" 120 ", 120),
            ("Sun, 01 Mar 2026 10:00:30 GMT", 30),
            ("99999999999999999999999", u64::MAX),
        ] {
            assert_eq!(wait(value), Some(Duration::from_secs(seconds)), "{value}");
        }
        for none in [
            "0",
            "",
            "-1",
            "soon",
            "Sun, 01 Mar 2026 09:59:00 GMT",
            "1e9",
        ] {
            assert_eq!(wait(none), None, "{none}");
        }
        assert_eq!(requested_wait(&HeaderMap::new(), now), None);
    }

    const WITHOUT_JITTER: Backoff = Backoff {
        first: Duration::from_millis(20),
        longest: Duration::from_millis(250),
        factor: 2,
        jitter: 0.0,
    };

    #[test]
    fn pauses_grow_up_to_the_longest() {
        let pauses = [0, 1, 2, 3, 4, 5, 64, u32::MAX].map(|retry| WITHOUT_JITTER.pause(retry));
        let expected = [20, 40, 80, 160, 250, 250, 250, 250].map(Duration::from_millis);
        assert_eq!(pauses, expected);
    }

    #[test]
    fn the_factor_is_what_a_pause_grows_by() {
        let backoff = Backoff {
            factor: 4,
            ..WITHOUT_JITTER
        };
        let expected = [20, 80, 250].map(Duration::from_millis);
        assert_eq!([0, 1, 2].map(|retry| backoff.pause(retry)), expected);
    }

    #[test]
    fn jitter_is_added_up_to_its_fraction_of_the_pause() {
        let backoff = Backoff {
            jitter: 0.5,
            ..WITHOUT_JITTER
        };
        for (retry, pause) in [(0, 20), (1, 40), (9, 250)] {
            let pause = Duration::from_millis(pause);
            let pauses: Vec<_> = (0..100).map(|_| backoff.pause(retry)).collect();
            let expected = pause..=pause + pause / 2;
            assert!(pauses.iter().all(|pause| expected.contains(pause)));
            assert!(pauses.iter().any(|other| *other != pauses[0]));
        }
    }

    #[test]
    fn the_longest_durations_do_not_overflow() {
        let backoff = Backoff {
            first: Duration::MAX,
            longest: Duration::from_hours(1),
            ..WITHOUT_JITTER
        };
        assert_eq!(backoff.pause(7), Duration::from_hours(1));
    }
}
