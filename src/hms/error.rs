//! What can come of asking 100ms, as actions for the caller.

use std::time::Duration;

use crate::domain::ProblemCode;

/// Why there is no answer to give. No variant carries a body, a URL or a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HmsError {
    /// The room has no session now, so none of its peers can be fetched.
    #[error("the room is not active")]
    RoomNotActive,
    /// The room is active, but this peer is not (or no longer) in it.
    #[error("the peer is not in the room")]
    PeerNotFound,
    /// 401 or 403, with a fresh token too where one could be signed: the credentials are wrong.
    #[error("100ms refused the credentials")]
    Unauthorized,
    /// 100ms limits the rate; nothing is sent until then.
    #[error("100ms limits the rate; try again in {} s", retry_after.as_secs_f64().ceil())]
    RateLimited {
        /// How long the gate stays closed from now.
        retry_after: Duration,
    },
    /// The budget ended while waiting for an answer.
    #[error("100ms did not answer in time")]
    Timeout,
    /// Connections failed, broke, or gave 5xx until the attempts or the budget were used up.
    #[error("100ms is unavailable")]
    Unavailable,
    /// An answer that 100ms does not document; the text says in what way, without quoting it.
    #[error("100ms gave an unexpected answer: {0}")]
    BadResponse(String),
}

impl HmsError {
    /// The problem code: the same in answers, log lines and metrics.
    pub fn code(&self) -> ProblemCode {
        match self {
            Self::RoomNotActive => ProblemCode::RoomNotActive,
            Self::PeerNotFound => ProblemCode::PeerNotFound,
            Self::Unauthorized => ProblemCode::UpstreamUnauthorized,
            Self::RateLimited { .. } => ProblemCode::UpstreamRateLimited,
            Self::Timeout => ProblemCode::UpstreamTimeout,
            Self::Unavailable => ProblemCode::UpstreamUnavailable,
            Self::BadResponse(_) => ProblemCode::UpstreamBadResponse,
        }
    }
}
