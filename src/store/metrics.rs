//! The metrics of batches, and of the clock.

use crate::domain::named;
use crate::metrics::{Counter, Gauge, Histogram, label, metrics};

metrics! {
    BATCH_SIZE: Histogram<QueueName> = Histogram::new(
        "rejoin_batch_size",
        "Items in one statement, by queue.",
    ).with_buckets(BATCH_SIZES);
    QUEUE_DEPTH: Gauge<QueueName> = Gauge::new(
        "rejoin_queue_depth",
        "Items that wait for a statement, by queue.",
    );
    SETTLED_REPORTS: Counter = Counter::new(
        "rejoin_settled_reports_total",
        "Reports of a time of which peers were compacted already: passed on, and stored nowhere.",
    );
    CLOCK_OFFSET_SECONDS: Gauge = Gauge::new(
        "rejoin_clock_offset_seconds",
        "How far the clock of this process is ahead of Postgres's; not a number until it is measured.",
    ).starting_at(f64::NAN);
}

named! {
    /// The queues of batches.
    pub(super) enum QueueName {
        /// Of what is saved.
        Save = "save",
        /// Of what is read to resume.
        Resume = "resume",
    }
}
label!("queue", QueueName);

/// Items in one statement.
const BATCH_SIZES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];
