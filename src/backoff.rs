//! How long to pause between attempts: one rule for everything that tries again.
//!
//! Only the length of a pause is decided here. How many attempts are made, and by which deadline,
//! is up to the caller.

use std::time::Duration;

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

#[cfg(test)]
mod tests {
    use super::*;

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
