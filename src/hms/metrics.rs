//! The metrics of operations on 100ms.

use super::HmsError;
use crate::domain::{ProblemCode, named};
use crate::metrics::{Counter, DURATIONS, Histogram, LabelValue, label, metrics};

metrics! {
    REQUESTS: Counter<(Operation, Outcome)> = Counter::new(
        "rejoin_upstream_requests_total",
        "Operations on 100ms, by operation and outcome.",
    );
    REQUEST_SECONDS: Histogram<Operation> = Histogram::new(
        "rejoin_upstream_request_seconds",
        "Time of an operation on 100ms, retries included.",
    ).with_buckets(DURATIONS);
}

named! {
    /// What is asked of 100ms.
    pub(super) enum Operation {
        /// To fetch a peer.
        Peer = "peer",
        /// To list the peers of a room.
        Peers = "peers",
        /// To say who was in a session.
        Session = "session",
        /// To list the active sessions.
        Sessions = "sessions",
        /// To replay webhooks.
        Replay = "replay",
        /// To say how far a replay is.
        ReplayState = "replay-state",
        /// To change a peer.
        UpdatePeer = "update-peer",
    }
}
label!("operation", Operation);

/// How an operation ended: with an answer, or with this problem.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome(Option<ProblemCode>);

impl Outcome {
    pub(super) fn of<T>(result: &Result<T, HmsError>) -> Self {
        Self(result.as_ref().err().map(HmsError::code))
    }

    pub(super) fn as_str(self) -> &'static str {
        self.0.map_or("ok", ProblemCode::as_str)
    }
}

impl LabelValue for Outcome {
    const NAME: &'static str = "outcome";

    fn all() -> Vec<Self> {
        let failures = HmsError::CODES.iter().copied().map(Some);
        [None].into_iter().chain(failures).map(Self).collect()
    }

    fn value(self) -> &'static str {
        self.as_str()
    }
}
