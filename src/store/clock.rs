//! The clock of this replica, compared with that of Postgres.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, query_scalar};

use super::connections::Statement;
use super::{Store, StoreError};
use crate::domain::{Clock, Timestamp};

/// How far the clock of this replica is ahead of Postgres's, as far as the answer's time allows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClockOffset {
    /// In seconds; negative where it is behind.
    pub seconds: f64,
    /// The offset may be less by this much, since the answer took time.
    pub tolerance: Duration,
}

impl ClockOffset {
    fn new(before: Timestamp, server: DateTime<Utc>, after: Timestamp) -> Self {
        let tolerance = after.since(before) / 2;
        let middle = before.to_utc() + TimeDelta::from_std(tolerance).unwrap_or_default();
        let offset = (middle - server).as_seconds_f64();
        Self {
            seconds: offset,
            tolerance,
        }
    }

    /// Whether the clocks certainly differ by more than this.
    pub fn exceeds(&self, limit: Duration) -> bool {
        self.seconds.abs() > (limit + self.tolerance).as_secs_f64()
    }
}

impl Store {
    /// Compares this clock with that of Postgres.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn compare_clock(&self, clock: &Clock) -> Result<ClockOffset, StoreError> {
        let clock = clock.clone();
        self.background.execute(CompareClock(clock)).await
    }
}

struct CompareClock(Clock);

impl Statement for CompareClock {
    type Output = ClockOffset;

    async fn run(&self, connection: &mut PgConnection) -> Result<ClockOffset, sqlx::Error> {
        let before = self.0.now();
        let server = query_scalar!(r#"SELECT clock_timestamp() AS "now!""#)
            .fetch_one(connection)
            .await?;
        Ok(ClockOffset::new(before, server, self.0.now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_within_the_time_of_the_answer_is_none() {
        let at = |millis: i64| DateTime::from_timestamp_millis(1_800_000_000_000 + millis).unwrap();
        for (before, server, after, seconds, exceeds) in [
            (0, 0, 0, 0.0, false),
            (0, 500, 1_000, 0.0, false),
            (3_000, 0, 3_000, 3.0, true),
            (0, 3_000, 0, -3.0, true),
            (2_000, 0, 2_000, 2.0, false),
            (2_001, 0, 2_001, 2.001, true),
            (0, 3_000, 4_000, -1.0, false),
            (3_000, 0, 7_000, 5.0, true),
            (2_000, 0, 6_000, 4.0, false),
        ] {
            let offset = ClockOffset::new(at(before).into(), at(server), at(after).into());
            assert!((offset.seconds - seconds).abs() < 1e-9, "{offset:?}");
            assert_eq!(
                offset.exceeds(Duration::from_secs(2)),
                exceeds,
                "{offset:?}"
            );
        }
    }
}
