//! The gates that a 429 closes, and the wait that the 429 asks for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::{Backoff, seconds};

/// The waits where 100ms names none; they grow with each 429 until a request succeeds.
const GUESSES: Backoff = Backoff {
    first: Duration::from_secs(1),
    longest: Duration::from_mins(1),
    factor: 2,
    jitter: 0.25,
};
/// No answer closes the gate for longer: a mistaken `Retry-After` must not stop the service for
/// days.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// Shared by all requests of a lane: while it is closed, none of them is sent.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    /// Another gate: while that is closed, so is this.
    outer: Option<Arc<Gate>>,
}

#[derive(Debug, Default)]
struct State {
    closed_until: Option<Instant>,
    /// How many waits were guessed since the last success.
    guesses: u32,
}

impl State {
    fn remaining(&self, now: Instant) -> Option<Duration> {
        let left = self.closed_until?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }
}

impl Gate {
    /// A gate that is closed while `outer` is, and closes without it.
    pub(super) fn behind(outer: Arc<Self>) -> Self {
        Self {
            state: Mutex::default(),
            outer: Some(outer),
        }
    }

    /// Whether a request may be sent `now`.
    ///
    /// # Errors
    /// What is left of the wait while the gate is closed.
    pub(super) fn check(&self, now: Instant) -> Result<(), Duration> {
        self.remaining(now).map_or(Ok(()), Err)
    }

    fn remaining(&self, now: Instant) -> Option<Duration> {
        let of_outer = self.outer.as_ref().and_then(|outer| outer.remaining(now));
        self.lock().remaining(now).max(of_outer)
    }

    /// Closes the gate for the wait that 100ms asked for, or for a guess. Returns for how long it
    /// is closed now.
    pub(super) fn close(&self, requested: Option<Duration>, now: Instant) -> Duration {
        let mut state = self.lock();
        let closed_for = state.remaining(now);
        let wait = match (requested, closed_for) {
            (Some(wait), _) => wait.min(LONGEST_WAIT),
            // The 429s of one burst are one event: only the first of them lengthens the guess.
            (None, Some(left)) => left,
            (None, None) => state.guess(),
        };
        let wait = wait.max(closed_for.unwrap_or_default());
        state.closed_until = Some(now + wait);
        wait
    }

    /// A request succeeded: the next guess starts small again. If the gate is closed, the request
    /// was sent before it closed, which says nothing.
    pub(super) fn succeeded(&self, now: Instant) {
        let mut state = self.lock();
        if state.remaining(now).is_none() {
            state.guesses = 0;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn guess(&mut self) -> Duration {
        let guess = GUESSES.pause(self.guesses);
        self.guesses = self.guesses.saturating_add(1);
        guess
    }
}

/// The wait in the text of a 429: `rate limit exceeded, retry after 45 seconds`, the only form that
/// is documented.
///
/// It is looked for in the whole body: in `message`, in the older `data.description`, and in plain
/// text.
pub(super) fn in_body(body: &[u8]) -> Option<Duration> {
    const BEFORE: &str = "retry after ";
    let text = String::from_utf8_lossy(body).to_ascii_lowercase();
    let rest = &text[text.find(BEFORE)? + BEFORE.len()..];
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    seconds(digits).filter(|wait| !wait.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_in_the_message_is_found() {
        for body in [
            r#"{"code":429,"message":"rate limit exceeded, retry after 45 seconds","details":[]}"#,
            r#"{"data":{"description":"Rate limit exceeded, Retry After 45 seconds"}}"#,
            "RETRY AFTER 45 SECONDS",
            "retry after 45",
        ] {
            assert_eq!(
                in_body(body.as_bytes()),
                Some(Duration::from_secs(45)),
                "{body}"
            );
        }
        for none in [
            "",
            "{}",
            "<html>429</html>",
            "retry after a while",
            "retry after 0 seconds",
            "retry after ",
        ] {
            assert_eq!(in_body(none.as_bytes()), None, "{none}");
        }
        assert_eq!(
            in_body(b"\xff retry after 3 seconds"),
            Some(Duration::from_secs(3))
        );
    }

    #[test]
    fn a_closed_gate_opens_by_itself() {
        let (gate, start) = (Gate::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(gate.check(start), Ok(()));
        assert_eq!(
            gate.close(Some(Duration::from_secs(45)), start),
            Duration::from_secs(45)
        );
        assert_eq!(gate.check(after(15)), Err(Duration::from_secs(30)));
        // A shorter wait in another answer does not open it earlier.
        assert_eq!(
            gate.close(Some(Duration::from_secs(1)), after(15)),
            Duration::from_secs(30)
        );
        assert!(gate.check(after(44)).is_err());
        assert_eq!(gate.check(after(45)), Ok(()));
    }

    #[test]
    fn a_gate_behind_another_closes_with_it_and_alone() {
        let (outer, start) = (Arc::new(Gate::default()), Instant::now());
        let inner = Gate::behind(outer.clone());
        let seconds = Duration::from_secs;
        inner.close(Some(seconds(10)), start);
        assert_eq!(outer.check(start), Ok(()));
        assert_eq!(inner.check(start), Err(seconds(10)));
        outer.close(Some(seconds(20)), start);
        assert_eq!(inner.check(start), Err(seconds(20)));
        assert_eq!(inner.check(start + seconds(20)), Ok(()));
    }

    #[test]
    fn guesses_grow_until_a_success() {
        let (gate, mut now) = (Gate::default(), Instant::now());
        let is_about = |wait: Duration, secs: u64| {
            let guess = Duration::from_secs(secs);
            (guess..=guess * 5 / 4).contains(&wait)
        };
        for secs in [1, 2, 4, 8, 16, 32, 60, 60] {
            let wait = gate.close(None, now);
            assert!(is_about(wait, secs), "{wait:?} for {secs}");
            assert_eq!(gate.close(None, now), wait, "a burst is one event");
            // The answer to a request that was sent before the gate closed.
            gate.succeeded(now);
            now += wait;
        }
        gate.succeeded(now);
        assert!(is_about(gate.close(None, now), 1));
    }

    #[test]
    fn the_longest_wait_bounds_what_100ms_asks_for() {
        assert_eq!(
            Gate::default().close(Some(Duration::from_secs(u64::MAX)), Instant::now()),
            LONGEST_WAIT
        );
    }
}
