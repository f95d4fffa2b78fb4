//! Waiting for what happens by itself.

use std::time::{Duration, Instant};

/// How long [`until`] waits.
const PATIENCE: Duration = Duration::from_secs(15);

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Waits until `condition` holds, and fails where it does not within 15 seconds.
pub(crate) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    until_within(PATIENCE, what, condition).await;
}

/// Waits until `condition` holds, and fails where it does not in time.
pub(crate) async fn until_within(
    patience: Duration,
    what: &str,
    condition: impl AsyncFn() -> bool,
) {
    let start = Instant::now();
    while !condition().await {
        assert!(
            start.elapsed() < patience,
            "{what}: not within {patience:?}"
        );
        tokio::time::sleep(PAUSE).await;
    }
}
