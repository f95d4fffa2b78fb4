//! The log of the REST requests that came in, so that tests can assert what was sent. Never the
//! token.

use std::collections::VecDeque;

use serde::Serialize;

use super::faults::Operation;

/// How many requests are logged.
const MAX_REQUESTS: usize = 1000;
/// The longest body that is logged.
pub(super) const MAX_LOGGED_BODY: usize = 64 * 1024;

/// A request to the REST API.
#[derive(Debug, Clone, Serialize)]
pub struct Request {
    /// Counts from 1 since the last reset.
    pub number: u64,
    /// When it came, RFC 3339.
    pub at: String,
    /// The HTTP method.
    pub method: String,
    /// The path as sent, percent-encoding untouched.
    pub path: String,
    /// The query as sent.
    pub query: Option<String>,
    /// Which call it is; none for a path that 100ms does not have.
    pub operation: Option<Operation>,
    /// The W3C trace context that it brought.
    pub traceparent: Option<String>,
    /// The body of an update, when it is text of at most 64 KiB.
    pub body: Option<String>,
    /// The answer's status; none while unanswered, for ever when the caller gave up.
    pub status: Option<u16>,
}

/// The last requests, oldest first.
#[derive(Default)]
pub(super) struct RequestLog {
    total: u64,
    recent: VecDeque<Request>,
}

impl RequestLog {
    /// Adds a request, and returns its number.
    pub(super) fn push(&mut self, request: Request) -> u64 {
        self.total += 1;
        self.recent.push_back(Request {
            number: self.total,
            ..request
        });
        if self.recent.len() > MAX_REQUESTS {
            self.recent.pop_front();
        }
        self.total
    }

    /// Adds the answer, unless the request is no longer in the log.
    pub(super) fn answered(&mut self, number: u64, at: &str, status: u16) {
        // A request before a reset may have the same number, but not the same time.
        if let Some(request) = self
            .recent
            .iter_mut()
            .find(|logged| logged.number == number && logged.at == at)
        {
            request.status = Some(status);
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn recent(&self) -> Vec<Request> {
        self.recent.iter().cloned().collect()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
