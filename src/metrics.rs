//! The metrics of this process: the name, the kind, the description and the buckets of each.
//!
//! Whoever counts something names it by a constant of this file. `telemetry` describes them all to the recorder.

pub(crate) const HTTP_REQUESTS: &str = "rejoin_http_requests_total";
pub(crate) const HTTP_REQUEST_SECONDS: &str = "rejoin_http_request_seconds";
pub(crate) const UPSTREAM_REQUESTS: &str = "rejoin_upstream_requests_total";
pub(crate) const UPSTREAM_REQUEST_SECONDS: &str = "rejoin_upstream_request_seconds";
pub(crate) const BATCH_SIZE: &str = "rejoin_batch_size";
pub(crate) const QUEUE_DEPTH: &str = "rejoin_queue_depth";
pub(crate) const DATABASE_CONNECTIONS: &str = "rejoin_database_connections";
pub(crate) const RESUMES: &str = "rejoin_resumes_total";
pub(crate) const RESUME_AGE_SECONDS: &str = "rejoin_resume_age_seconds";
pub(crate) const RESTORES: &str = "rejoin_restores_total";
pub(crate) const CLAIMS: &str = "rejoin_claims_total";
pub(crate) const DROP_TO_RESUME_SECONDS: &str = "rejoin_drop_to_resume_seconds";
pub(crate) const WEBHOOKS: &str = "rejoin_webhooks_total";
pub(crate) const CLOCK_OFFSET_SECONDS: &str = "rejoin_clock_offset_seconds";
pub(crate) const CONNECTIONS: &str = "rejoin_connections";
pub(crate) const CONNECTIONS_REFUSED: &str = "rejoin_connections_refused_total";

/// All metrics.
pub(crate) const ALL: &[Metric] = &[
    counter(
        HTTP_REQUESTS,
        "Requests, by method, route template, status and problem code.",
    ),
    histogram(
        HTTP_REQUEST_SECONDS,
        "Time to answer a request, by route template.",
        DURATIONS,
    ),
    counter(
        UPSTREAM_REQUESTS,
        "Operations on 100ms, by operation and outcome.",
    ),
    histogram(
        UPSTREAM_REQUEST_SECONDS,
        "Time of an operation on 100ms, retries included.",
        DURATIONS,
    ),
    histogram(BATCH_SIZE, "Items in one statement, by queue.", BATCH_SIZES),
    gauge(QUEUE_DEPTH, "Items that wait for a statement, by queue."),
    gauge(
        DATABASE_CONNECTIONS,
        "Database connections: all that are open, and those of them that are busy.",
    ),
    counter(
        RESUMES,
        "Resumes by outcome: hit, miss, too-old or not-dropped.",
    ),
    histogram(
        RESUME_AGE_SECONDS,
        "Time since the state that a resume returned was last observed.",
        AGES,
    ),
    counter(
        RESTORES,
        "Restores of saved states to peers, by outcome and whether a join caused them.",
    ),
    counter(
        CLAIMS,
        "Claims of saved states by outcome: claimed, again or already-claimed.",
    ),
    histogram(
        DROP_TO_RESUME_SECONDS,
        "Time from a drop to the restore or the claim of the state.",
        AGES,
    ),
    counter(WEBHOOKS, "Webhook events of 100ms, by type and outcome."),
    gauge(
        CLOCK_OFFSET_SECONDS,
        "How far the clock of this process is ahead of Postgres's.",
    ),
    gauge(CONNECTIONS, "Connections of clients that are open."),
    counter(
        CONNECTIONS_REFUSED,
        "Connections of clients beyond the limit.",
    ),
];

/// Seconds, from a resume out of memory to an upstream budget used up.
const DURATIONS: &[f64] = &[
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0,
];
/// Items in one statement.
const BATCH_SIZES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];
/// Seconds, from a reconnect to a month.
const AGES: &[f64] = &[
    1.0,
    2.0,
    5.0,
    15.0,
    60.0,
    300.0,
    900.0,
    3_600.0,
    21_600.0,
    86_400.0,
    604_800.0,
    2_592_000.0,
];

/// A metric, as Prometheus shows it.
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    pub(crate) kind: Kind,
}

/// What a metric measures.
pub(crate) enum Kind {
    /// How often something happened.
    Counter,
    /// How much there is now.
    Gauge,
    /// How values are distributed over these buckets.
    Histogram(&'static [f64]),
}

const fn counter(name: &'static str, description: &'static str) -> Metric {
    Metric {
        name,
        description,
        kind: Kind::Counter,
    }
}

const fn gauge(name: &'static str, description: &'static str) -> Metric {
    Metric {
        name,
        description,
        kind: Kind::Gauge,
    }
}

const fn histogram(
    name: &'static str,
    description: &'static str,
    buckets: &'static [f64],
) -> Metric {
    Metric {
        name,
        description,
        kind: Kind::Histogram(buckets),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_of_this_file_is_described_once() {
        let constants = include_str!("metrics.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("pub(crate) const "))
            .filter_map(|line| line.split_once(": &str = \""))
            .map(|(_, rest)| rest.trim_end_matches("\";"));
        let mut constants: Vec<&str> = constants.collect();
        let mut described: Vec<&str> = ALL.iter().map(|metric| metric.name).collect();
        constants.sort_unstable();
        described.sort_unstable();
        assert_eq!(constants, described);
    }
}
