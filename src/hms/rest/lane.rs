//! The lanes of requests: what somebody waits for, and what runs in the background. Neither takes
//! permits or memory from the other, and the background is paced besides.

use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::memory::ListMemory;
use super::send::Kind;
use crate::hms::UpstreamRate;

/// Requests for whole rooms may take this part of all permits.
const ROOM_PART: usize = 4;
/// How many requests of the background may be in flight at once.
const MAX_BACKGROUND: usize = 8;

/// What the requests of one kind share.
pub(super) struct Lane {
    /// One for each request that may be in flight.
    permits: Semaphore,
    /// One for each of them that may be for a whole room.
    room_permits: Semaphore,
    pub(super) list_memory: ListMemory,
    pace: Option<DefaultDirectRateLimiter>,
}

impl Lane {
    /// The lane of what somebody waits for.
    pub(super) fn foreground(max_concurrent: usize) -> Self {
        Self::new(max_concurrent, None)
    }

    /// The lane of what nobody waits for. All of its requests are paced, whichever attempt they are.
    pub(super) fn background(rate: UpstreamRate) -> Self {
        let quota = Quota::with_period(rate.interval()).expect("the interval is not zero");
        Self::new(MAX_BACKGROUND, Some(RateLimiter::direct(quota)))
    }

    fn new(max_concurrent: usize, pace: Option<DefaultDirectRateLimiter>) -> Self {
        let max_concurrent = max_concurrent.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            permits: Semaphore::new(max_concurrent),
            room_permits: Semaphore::new(max_concurrent.div_ceil(ROOM_PART)),
            list_memory: ListMemory::new(),
            pace,
        }
    }

    /// Waits until the pace allows another request, and returns for how long: that is no time of
    /// 100ms's.
    pub(super) async fn wait_for_pace(&self) -> Duration {
        let Some(pace) = &self.pace else {
            return Duration::ZERO;
        };
        let start = Instant::now();
        pace.until_ready().await;
        start.elapsed()
    }

    /// The permits of a request. Those for whole rooms have few, so that there are some for others.
    pub(super) async fn permits_for(&self, kind: Kind) -> [Option<SemaphorePermit<'_>>; 2] {
        let room_permit = match kind {
            Kind::WholeRoom => self.room_permits.acquire().await.ok(),
            Kind::Single | Kind::List => None,
        };
        [room_permit, self.permits.acquire().await.ok()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_background_is_paced() {
        let foreground = Lane::foreground(64);
        for _ in 0..100 {
            assert_eq!(foreground.wait_for_pace().await, Duration::ZERO);
        }
        let background = Lane::background(UpstreamRate::parse("20/s").unwrap());
        let start = Instant::now();
        for _ in 0..5 {
            background.wait_for_pace().await;
        }
        assert!(start.elapsed() >= Duration::from_millis(200));
    }

    #[tokio::test]
    async fn the_background_takes_no_permit_of_others() {
        let background = Lane::background(UpstreamRate::parse("1000/s").unwrap());
        let mut rooms = Vec::new();
        for _ in 0..MAX_BACKGROUND / ROOM_PART {
            rooms.push(background.permits_for(Kind::WholeRoom).await);
        }
        let another =
            futures_util::FutureExt::now_or_never(background.permits_for(Kind::WholeRoom));
        assert!(another.is_none());
        assert!(background.permits_for(Kind::Single).await[1].is_some());
    }
}
