//! What can go wrong with the store, as actions for the caller.

use std::time::Duration;

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database did not answer, or not in time. Nothing is known to be lost: try again.
    #[error("the database does not answer: {0}")]
    Unavailable(String),
    /// More is waiting than the bounded queues hold. Try again after this long.
    #[error("too much is waiting for the database")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// The database refused a statement: a fault of ours.
    #[error("the database refused a statement: {0}")]
    Refused(#[source] sqlx::Error),
}

impl StoreError {
    /// Sorts an error of sqlx by what the caller can do about it.
    pub(super) fn from_sqlx(error: sqlx::Error) -> Self {
        if is_outage(&error) {
            Self::Unavailable(error.to_string())
        } else {
            Self::Refused(error)
        }
    }

    /// The same failure for one more of those that waited for the same statement.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::Unavailable(why) => Self::Unavailable(why.clone()),
            Self::Overloaded { retry_after } => Self::Overloaded {
                retry_after: *retry_after,
            },
            Self::Refused(error) => Self::Refused(sqlx::Error::Protocol(error.to_string())),
        }
    }
}

/// Whether the error says that the connection or the server went away, rather than that the statement is wrong.
pub(super) fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(refusal) => refusal.code().is_some_and(|code| is_outage_code(&code)),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}

/// Classes 08 (connection), 40 (deadlock and the like), 53 (resources), 57P (shutdown, starting up), a statement that took
/// too long, and a primary that became read-only.
fn is_outage_code(code: &str) -> bool {
    ["08", "40", "53", "57P"]
        .iter()
        .any(|class| code.starts_with(class))
        || code == "25006"
        || code == "57014"
}
