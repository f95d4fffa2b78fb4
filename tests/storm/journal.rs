//! What was asked of the service, and what it answered.

use std::collections::BTreeSet;
use std::sync::Mutex;

use chrono::{DateTime, Utc};
use serde_json::Value;

/// The statuses and codes of failures that are documented.
pub(crate) type Documented = BTreeSet<(u16, String)>;

/// An answer that was read to its end.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// When a request was sent and when its answer was complete.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) sent: DateTime<Utc>,
    pub(crate) done: DateTime<Utc>,
}

/// A row of history as a snapshot answered it.
#[derive(Debug, Clone)]
pub(crate) struct AckedRow {
    pub(crate) span: Span,
    pub(crate) row: Value,
}

/// A claim that was made.
#[derive(Debug, Clone)]
pub(crate) struct AckedClaim {
    pub(crate) span: Span,
    pub(crate) user: usize,
    pub(crate) claimant: String,
    pub(crate) metadata: String,
}

#[derive(Default)]
pub(crate) struct Journal {
    pub(crate) rows: Mutex<Vec<AckedRow>>,
    pub(crate) claims: Mutex<Vec<AckedClaim>>,
    pub(crate) odd: Mutex<Vec<String>>,
    /// Restores that were said to be there and are not.
    pub(crate) unrestored: Mutex<Vec<String>>,
    /// Erasures: the user, and from when to when.
    pub(crate) erased: Mutex<Vec<(usize, Span)>>,
    documented: Documented,
}

impl Journal {
    pub(crate) fn new(documented: Documented) -> Self {
        Self {
            documented,
            ..Self::default()
        }
    }

    /// Notes an answer that no client could expect.
    pub(crate) fn check(&self, asked: &str, answer: &Answer) {
        if matches!(answer.status, 200 | 201) {
            return;
        }
        let code = answer.body["code"].as_str().unwrap_or_default().to_owned();
        let known = self.documented.contains(&(answer.status, code));
        if !known || answer.status == 500 {
            let line = format!("{asked} was answered {} {}", answer.status, answer.body);
            self.odd.lock().unwrap().push(line);
        }
    }
}

/// Reads the table of codes in the description of the API.
pub(crate) fn documented() -> Documented {
    let openapi = rejoin::http::openapi();
    let description = openapi["info"]["description"].as_str().unwrap_or_default();
    let rows = description.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|');
        let code = cells.next()?.trim().trim_matches('`').to_owned();
        Some((cells.next()?.trim().parse().ok()?, code))
    });
    let documented: Documented = rows.collect();
    assert!(
        documented.len() > 10,
        "the table of codes is in the description"
    );
    documented
}
