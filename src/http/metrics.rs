//! The metrics of requests, resumes and database connections.
//!
//! Which requests there can be is read from the description of the API.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use serde_json::{Map, Value};

use super::error::{Code, status_and_title};
use crate::domain::named;
use crate::metrics::{AGES, Counter, DURATIONS, Gauge, Histogram, Label, Labels, label, metrics};

metrics! {
    REQUESTS: Counter<Answered> = Counter::new(
        "rejoin_http_requests_total",
        "Requests, by method, route template, status and problem code.",
    );
    REQUEST_SECONDS: Histogram<Endpoint> = Histogram::new(
        "rejoin_http_request_seconds",
        "Time to answer a request, by method and route template.",
    ).with_buckets(DURATIONS);
    RESUMES: Counter<ResumeOutcome> = Counter::new(
        "rejoin_resumes_total",
        "Resumes by outcome: hit, miss, too-old or not-dropped.",
    );
    RESUME_AGE_SECONDS: Histogram = Histogram::new(
        "rejoin_resume_age_seconds",
        "Time since the state that a resume returned was last observed.",
    ).with_buckets(AGES);
    DATABASE_CONNECTIONS: Gauge<ConnectionState> = Gauge::new(
        "rejoin_database_connections",
        "Database connections: all that are open, and those of them that are busy.",
    );
}

named! {
    /// How a resume ended.
    pub(super) enum ResumeOutcome {
        /// A state was returned.
        Hit = "hit",
        /// None is saved.
        Miss = "miss",
        /// It is older than `max_age`.
        TooOld = "too-old",
        /// Its peer did not drop.
        NotDropped = "not-dropped",
    }
}
label!("outcome", ResumeOutcome);

named! {
    /// Which database connections are counted.
    pub(super) enum ConnectionState {
        /// All.
        Open = "open",
        /// Those that run something.
        Busy = "busy",
    }
}
label!("state", ConnectionState);

/// What is requested: a method, and the template of a path.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    pub(super) method: String,
    pub(super) route: String,
}

/// A request that was answered.
#[derive(Debug, Clone)]
pub(super) struct Answered {
    pub(super) endpoint: Endpoint,
    pub(super) status: StatusCode,
    /// The problem code; empty for a success.
    pub(super) code: &'static str,
}

impl Labels for Endpoint {
    fn known() -> Vec<Self> {
        described()
            .into_iter()
            .map(|(endpoint, _)| endpoint)
            .collect()
    }

    fn pairs(&self) -> Vec<Label> {
        vec![
            Label::new("method", self.method.clone()),
            Label::new("route", self.route.clone()),
        ]
    }
}

impl Labels for Answered {
    fn known() -> Vec<Self> {
        let mut known = Vec::new();
        for (endpoint, responses) in described() {
            let answers = responses.iter().flat_map(|response| answers(response));
            // A status may be described beside the default.
            let answers: BTreeSet<_> = answers.collect();
            known.extend(answers.into_iter().map(|(status, code)| Self {
                endpoint: endpoint.clone(),
                status,
                code,
            }));
        }
        known
    }

    fn pairs(&self) -> Vec<Label> {
        let mut pairs = self.endpoint.pairs();
        pairs.push(Label::new("status", self.status.as_str().to_owned()));
        pairs.push(Label::from_static_parts("code", self.code));
        pairs
    }
}

/// The operations in the description of the API, each with its responses: statuses, and perhaps `default`.
fn described() -> Vec<(Endpoint, Vec<String>)> {
    let description = super::openapi();
    let mut described = Vec::new();
    for (route, operations) in entries(&description["paths"]) {
        for (method, operation) in entries(operations) {
            let (method, route) = (method.to_uppercase(), route.clone());
            let responses = entries(&operation["responses"]).map(|(status, _)| status.clone());
            described.push((Endpoint { method, route }, responses.collect()));
        }
    }
    described
}

fn entries(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flat_map(Map::iter)
}

/// The statuses and codes that a response of the description stands for.
fn answers(response: &str) -> Vec<(StatusCode, &'static str)> {
    let described = response.parse::<StatusCode>().ok();
    let success = described.filter(|status| !status.is_client_error() && !status.is_server_error());
    if let Some(status) = success {
        return vec![(status, "")];
    }
    let failures = Code::ALL
        .iter()
        .map(|code| (status_and_title(*code).0, code.as_str()));
    failures
        .filter(|(status, _)| described.is_none_or(|described| described == *status))
        .collect()
}
