//! Why 100ms gave no usable answer, as actions for the caller.

use std::error::Error;
use std::time::Duration;

use crate::domain::ProblemCode;

/// Why there is no usable answer. No variant holds a body, a URL or a secret.
#[derive(Debug, thiserror::Error)]
pub enum HmsError {
    /// The room has no session now, so none of its peers can be fetched.
    #[error("the room is not active")]
    RoomNotActive,
    /// The room is active, but this peer is not (or no longer) in it.
    #[error("the peer is not in the room")]
    PeerNotFound,
    /// 401 or 403, also with a fresh token where one could be signed: the credentials are wrong.
    #[error("100ms refused the credentials")]
    Unauthorized,
    /// 100ms limits the rate; nothing is sent until then.
    #[error("100ms limits the rate; try again in {} s", retry_after.as_secs_f64().ceil())]
    RateLimited {
        /// How long the gate stays closed from now.
        retry_after: Duration,
    },
    /// Too many large rooms are being fetched. Nothing was read of this one.
    #[error("too many large rooms are being fetched; try again shortly")]
    Overloaded,
    /// The budget was used up while waiting for an answer. Where an attempt had failed before, this
    /// is what the last one failed with.
    #[error("100ms did not answer in time")]
    Timeout(#[source] Option<TransientError>),
    /// Attempts failed until no more of them, or no more of the budget, were left; this is what the
    /// last of them failed with.
    #[error("100ms is unavailable")]
    Unavailable(#[source] TransientError),
    /// An answer that 100ms does not document; the text says in what way, without quoting it.
    #[error("100ms gave an unexpected answer: {0}")]
    BadResponse(String),
}

/// Lists the problem codes too, so that the list leaves none out.
macro_rules! codes {
    ($($error:pat => $code:ident,)+) => {
        /// All that [`HmsError::code`] returns.
        pub(crate) const CODES: &'static [ProblemCode] = &[$(ProblemCode::$code,)+];

        /// The problem code: the same in answers, log lines and metrics.
        pub fn code(&self) -> ProblemCode {
            match self { $($error => ProblemCode::$code,)+ }
        }
    };
}

impl HmsError {
    codes! {
        Self::RoomNotActive => RoomNotActive,
        Self::PeerNotFound => PeerNotFound,
        Self::Unauthorized => UpstreamUnauthorized,
        Self::RateLimited { .. } => UpstreamRateLimited,
        Self::Overloaded => Overloaded,
        Self::Timeout(_) => UpstreamTimeout,
        Self::Unavailable(_) => UpstreamUnavailable,
        Self::BadResponse(_) => UpstreamBadResponse,
    }

    /// Whether 100ms certainly did not do what was asked of it. No answer, a 5xx and an answer that
    /// cannot be read say nothing of that.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::RoomNotActive
            | Self::PeerNotFound
            | Self::Unauthorized
            | Self::RateLimited { .. } => true,
            Self::Overloaded | Self::Timeout(_) | Self::Unavailable(_) | Self::BadResponse(_) => {
                false
            }
        }
    }

    /// The message followed by those of its causes, for the log and for commands.
    pub fn with_causes(&self) -> String {
        with_causes(self)
    }
}

/// A failure that is worth another attempt.
#[derive(Debug, thiserror::Error)]
pub enum TransientError {
    /// No connection could be made, or it broke. The error has lost its URL, which holds ids.
    #[error(transparent)]
    Transport(reqwest::Error),
    /// A 5xx.
    #[error("status {0}")]
    Status(u16),
    /// This process stops, so that the answer could not be read.
    #[error("this process is stopping")]
    Stopping,
}

impl TransientError {
    /// The message followed by those of its causes, for the log.
    pub(super) fn with_causes(&self) -> String {
        with_causes(self)
    }
}

impl From<reqwest::Error> for TransientError {
    fn from(error: reqwest::Error) -> Self {
        Self::Transport(error.without_url())
    }
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
