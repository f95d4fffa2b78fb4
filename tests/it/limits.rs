//! The figures of the page of limits are those of the code.

use crate::documentation::source;

const PAGE: &str = include_str!("../../docs/limits.md");

/// A constant as the code has it, and how the page says it.
const BOUNDS: &[(&str, &str)] = &[
    (
        "MAX_ID_CHARS: usize = 256",
        "1 to 256 characters, no control",
    ),
    ("MAX_KEY_BYTES: usize = 2_600", "2,600 bytes"),
    ("MAX_JSON_DEPTH: usize = 100", "100 levels of nesting"),
    ("MAX_LABEL_CHARS: usize = 256", "| 256 characters | cut |"),
    ("MAX_REPEATS: usize = 32", "the newest 32"),
    ("MAX_ROWS: usize = 64", "the newest 64"),
    ("(1..=64).contains(&name.len())", "1 to 64 letters"),
    ("MIN_SECRET_BYTES: usize = 8", "8 characters or more"),
    (
        "(1..=128).contains(&id.len())",
        "128 visible ASCII characters",
    ),
    (
        "MAX_BODY: usize = 64 << 10",
        "| body of a request | 64 KiB |",
    ),
    (
        "BODY_TIMEOUT: Duration = Duration::from_secs(10)",
        "| time for the body | 10 s |",
    ),
    (
        "MIN_EVENT_LIMIT: usize = 1 << 20",
        "| body of a webhook | 1 MiB",
    ),
    (
        "MAX_ESCAPED_BYTES: usize = 6",
        "six times `REJOIN_MAX_METADATA_BYTES` and 64 KiB",
    ),
    ("DEFAULT_LIMIT: u16 = 50", "50 rows"),
    ("MAX_LIMIT: u16 = 500", "`limit` from 1 to 500"),
    ("FULL_PAGE_BYTES: i64 = 8 << 20", "brings it to 8 MiB"),
    (
        "READ_TIMEOUT: Duration = Duration::from_mins(1)",
        "| one minute |",
    ),
    (
        "DRAIN_TIMEOUT: Duration = Duration::from_secs(25)",
        "25 s to finish",
    ),
    ("REFUSALS: usize = 256", "256 such connections"),
    ("SCARCE_PART: usize = 16", "one connection in sixteen"),
    ("MAX_HEAD_BYTES: usize = 64 << 10", "| 64 KiB for the head"),
    (
        "MAX_HEADS_BYTES: usize = 64 << 20",
        "| 64 MiB for all heads",
    ),
    (
        "FREE_HEAD_BYTES: usize = 8 << 10",
        "8 KiB of each not counted",
    ),
    (
        "HEAD_TIMEOUT: Duration = Duration::from_secs(10)",
        "| 10 s for the head",
    ),
    (
        "IDLE_TIMEOUT: Duration = Duration::from_secs(90)",
        "| 90 s between requests",
    ),
    (
        "WRITE_TIMEOUT: Duration = Duration::from_secs(20)",
        "| 20 s without reading",
    ),
    (
        "SCARCE_IDLE_TIMEOUT: Duration = Duration::from_secs(5)",
        "idle for 5 s",
    ),
    (
        "MAX_RETRIES: u32 = 2",
        "| 3, after pauses of about 50 and 200 ms |",
    ),
    ("max_concurrent: 64", "| 64, a quarter of them"),
    ("ROOM_PART: usize = 4", "a quarter of them for whole rooms"),
    (
        "MAX_BACKGROUND: usize = 8",
        "whole rooms; 8 more for the background",
    ),
    (
        "SIGN_OF_LIFE: Duration = Duration::from_secs(5)",
        "signs of life of a replica | every 5 s |",
    ),
    (
        "DELIVERY_PATIENCE: Duration = Duration::from_secs(14)",
        "a gap without any | 14 s |",
    ),
    (
        "SETTLING_TIME: Duration = Duration::from_secs(20)",
        "wait until it is | 20 s:",
    ),
    (
        "MAX_PIECE: TimeDelta = TimeDelta::days(14)",
        "one replay | 14 days,",
    ),
    (
        "SHORTEST_GAP: Duration = Duration::from_secs(7)",
        "apart | 7 s each |",
    ),
    (
        "PATIENCE: Duration = Duration::from_mins(2)",
        "none succeeds | 2 minutes |",
    ),
    (
        "MAX_ATTEMPTS_TIME: TimeDelta = TimeDelta::hours(24)",
        "| attempts | 24 hours |",
    ),
    (
        "LEASE: Duration = Duration::from_secs(30)",
        "reconciliation whose replica died | 30 s |",
    ),
    (
        "SHORTEST: Duration = Duration::from_secs(5)",
        "| 5 s to 1 h |",
    ),
    (
        "LONGEST: Duration = Duration::from_hours(1)",
        "| 5 s to 1 h |",
    ),
    ("MAX_CONCURRENT: usize = 8", "replica at a time | 8, or"),
    (
        " LEASE: Duration = Duration::from_secs(5)",
        "a look whose replica died | 5 s;",
    ),
    (
        "FETCH_LEASE: Duration = Duration::from_secs(10)",
        "| 5 s; a fetch, 10 s |",
    ),
    (
        "LOOK_PRECISION: Duration = Duration::from_mins(1)",
        "did not change | one a minute",
    ),
    (
        "FETCH_PATIENCE: Duration = Duration::from_mins(1)",
        "asked for | a minute of attempts |",
    ),
    ("MAX_PAGES: usize = 1_000", "| 1,000 of 50 sessions |"),
    (
        "SESSIONS_IN_PAGE: &str = \"50\"",
        "| 1,000 of 50 sessions |",
    ),
    (
        "MAX_CONCURRENT: usize = 16",
        "| 16, and one for each room |",
    ),
    (
        "CONNECT_TIMEOUT: Duration = Duration::from_secs(5)",
        "| 5 s to connect, 15 s in all |",
    ),
    (
        "TIMEOUT: Duration = Duration::from_secs(15)",
        "5 s to connect, 15 s in all |",
    ),
    (
        "MAX_ANSWER: usize = 64 << 10",
        "after its head | 64 KiB, within 1 s |",
    ),
    (
        "UNENDED_ATTEMPTS: i32 = 50",
        "| 24 hours and 50 attempts | it is dead |",
    ),
    (
        "LONGEST_WAIT: Duration = Duration::from_hours(1)",
        "of a 429 or a 503 asks for | honoured up to an hour |",
    ),
    (
        "PATIENCE: Duration = Duration::from_hours(24)",
        "of an event | 24 hours |",
    ),
    (
        "MIN_KEEP_PEERS: Duration = Duration::from_hours(30 * 24)",
        "30 days (`REJOIN_KEEP_PEERS`, 30days to 100years",
    ),
    (
        "GRACE: Duration = Duration::from_hours(24)",
        "and 24 hours more",
    ),
    (
        "KEEP_RECONCILIATIONS: Duration = Duration::from_hours(365 * 24)",
        "reconciliations | kept for 365 days",
    ),
    ("MAX_PEERS: i64 = 500", "looked at in one statement | 500"),
    (
        "PAUSE: Duration = Duration::from_millis(100)",
        "a pause of 100 ms before the next",
    ),
    (
        "EVERY: Duration = Duration::from_hours(24)",
        "24 hours after the last compaction",
    ),
    (
        "length: Duration::from_mins(2)",
        "| a compaction whose replica died | 2 minutes",
    ),
    (
        "CHECK_INTERVAL: Duration = Duration::from_hours(1)",
        "begins anew within an hour",
    ),
    (
        "KEPT_DEAD: Duration = Duration::from_hours(7 * 24)",
        "kept for 7 days",
    ),
    (
        "LEASE: Duration = Duration::from_secs(20)",
        "whose replica died | 20 s |",
    ),
    (
        "ASIDE_AFTER: Duration = Duration::from_mins(1)",
        "others are accepted | a minute |",
    ),
    (
        "ASIDE_AFTER_OUTAGE: Duration = Duration::from_mins(15)",
        "none is accepted | 15 minutes |",
    ),
    ("peer_body_limit: 2 << 20", "| 2 MiB, or six times"),
    (
        "list_body_limit: 64 << 20",
        "| the list of a room | 64 MiB |",
    ),
    (
        "LARGE_LIST_BYTES: usize = 256 << 10",
        "lists of 256 KiB or more",
    ),
    ("MAX_BYTES: usize = 40 << 20", "| 40 MiB together, and"),
    (
        "PATIENCE: Duration = Duration::from_secs(20)",
        "waits up to 20 s",
    ),
    (
        "LONGEST_WAIT: Duration = Duration::from_hours(1)",
        "honoured up to an hour",
    ),
    (
        "PERMIT_TIMEOUT: Duration = Duration::from_secs(2)",
        "restores and claims | 2 s |",
    ),
    (
        "STATEMENT_TIMEOUT: Duration = Duration::from_secs(5)",
        "all attempts | 5 s |",
    ),
    (
        "ANSWER_TIMEOUT: Duration = Duration::from_secs(6)",
        "wait in the queue included | 6 s |",
    ),
    ("max_batch: 512", "| 512 items, 8 MiB |"),
    ("MAX_BATCH_BYTES: usize = 8 << 20", "| 512 items, 8 MiB |"),
    (
        "queue_capacity_kib: 32 << 10",
        "| 32 MiB, and 8 MiB more for rooms |",
    ),
    ("BULK_PART: u32 = 4", "| 32 MiB, and 8 MiB more for rooms |"),
    ("lock_timeout = '40ms'", "| 40 ms, then it waits apart"),
    (
        "MAX_CLOCK_OFFSET: Duration = Duration::from_secs(2)",
        "| 2 s apart |",
    ),
    (
        "MAX_CLOCK_SKEW: TimeDelta = TimeDelta::seconds(60)",
        "ahead of rejoin's clock | 60 s |",
    ),
    (
        "STATE_WAIT: TimeDelta = TimeDelta::seconds(120)",
        "drop to be reported | 2 minutes |",
    ),
    (
        "PEER_WAIT: TimeDelta = TimeDelta::seconds(30)",
        "| 30 s | `failed`, `peer-not-found` |",
    ),
    ("MAX_CONCURRENT_JOBS: usize = 48", "| 48 |"),
    ("Self::Month => 2,", "this month and 2 more"),
    ("Self::Week => 4,", "this week and 4 more"),
    ("Self::Day => 14,", "this day and 14 more"),
    ("MAX_RETRIES_IN_USE: u32 = 9", "10 attempts"),
    ("MAX_ROWS: i32 = 1_000", "1,000 rows in one statement"),
];

#[test]
fn every_figure_is_that_of_the_code() {
    let source = source();
    for (constant, figure) in BOUNDS {
        assert!(
            source.contains(constant),
            "the code has no {constant}, and the page says {figure}"
        );
        assert!(
            PAGE.contains(figure),
            "the code has {constant}, and the page does not say {figure}"
        );
    }
}
