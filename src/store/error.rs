//! What can go wrong with the store. The variants of [`StoreError`] are what the caller should do.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A failure of the store. Clones share their source: all items of a batch fail with one error.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Try again. Nobody knows whether the statement was committed.
    #[error("the database does not answer")]
    Unavailable(#[source] UnavailableReason),
    /// Try again after this long. Nothing was done.
    #[error("too many requests are waiting for the database")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// Do not try again: the statement or its data is wrong, which is a bug.
    #[error("the database refused a statement")]
    Refused(#[source] Arc<sqlx::Error>),
}

/// Why the database counts as unavailable.
#[derive(Debug, Clone, thiserror::Error)]
pub enum UnavailableReason {
    /// No connection could be opened.
    #[error("no connection could be opened")]
    Connect(#[source] Arc<sqlx::Error>),
    /// No connection was opened in time.
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    /// The connection broke, or the server cannot run statements now.
    #[error("the statement was interrupted")]
    Interrupted(#[source] Arc<sqlx::Error>),
    /// The server accepts no writes: it is a standby, or a primary that was demoted. What it would
    /// answer may be older than what was acknowledged.
    #[error("the server is read-only: it is a standby, or a primary that was demoted")]
    ReadOnly,
    /// The schema is older than this program needs.
    #[error("the schema lacks the migration {0}: run `rejoin migrate`")]
    SchemaOutdated(String),
    /// A pooler in between does not keep what the service has prepared: it is too old, or set up
    /// otherwise.
    #[error(
        "the pooler in front of the database loses prepared statements between transactions: let it pool sessions, \
         or transactions with PgBouncer 1.21 or later and its max_prepared_statements above 0"
    )]
    Pooler,
    /// The answer did not come in time.
    #[error("no answer within {0:?}")]
    AnswerTimeout(Duration),
    /// The task that ran the statement ended without an answer: it panicked, or the process stops.
    #[error("the task that ran the statement has ended")]
    TaskEnded,
}

impl StoreError {
    /// The error and its sources in one line, for logs and commands.
    pub fn with_sources(&self) -> impl fmt::Display + '_ {
        WithSources(self)
    }
}

impl UnavailableReason {
    /// Why no connection could be opened.
    pub(super) fn of_connect(error: sqlx::Error) -> Self {
        if is_of_pooler(&error) {
            Self::Pooler
        } else {
            Self::Connect(Arc::new(error))
        }
    }
}

impl From<UnavailableReason> for StoreError {
    fn from(reason: UnavailableReason) -> Self {
        Self::Unavailable(reason)
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if code_of(&error).is_some_and(|code| code == READ_ONLY) {
            UnavailableReason::ReadOnly.into()
        } else if is_of_pooler(&error) {
            UnavailableReason::Pooler.into()
        } else if is_outage(&error) {
            UnavailableReason::Interrupted(Arc::new(error)).into()
        } else {
            Self::Refused(Arc::new(error))
        }
    }
}

struct WithSources<'a>(&'a StoreError);

impl fmt::Display for WithSources<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

/// Whether the error says that the connection or the server failed, rather than that the statement
/// is wrong.
pub(super) fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error.code().is_some_and(|code| is_outage_code(&code)),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}

/// Whether the connection is of no use any more, and so most likely all that are idle: it broke, or
/// its server goes down or became read-only. A full server or a lock says nothing about the others.
pub(super) fn is_broken(error: &sqlx::Error) -> bool {
    match code_of(error) {
        Some(code) => code.starts_with("08") || code.starts_with("57P") || code == READ_ONLY,
        None => is_outage(error),
    }
}

/// Whether the server reports that a connection broke: not ours, but one of its own to a node of a
/// Citus cluster.
pub(super) fn is_node_failure(error: &sqlx::Error) -> bool {
    code_of(error).is_some_and(|code| code.starts_with("08"))
}

/// Whether the statement ran into a limit of time: another attempt would wait as long again, and let
/// others wait behind it.
pub(super) fn is_over_time(error: &sqlx::Error) -> bool {
    code_of(error).is_some_and(|code| code == "55P03" || code == "57014")
}

/// Whether a prepared statement is not there, or that of somebody else is; or transactions are not
/// allowed. On a connection of one's own, neither can be.
fn is_of_pooler(error: &sqlx::Error) -> bool {
    match code_of(error).as_deref() {
        Some("26000" | "42P05") => true,
        Some("08P01") => error.to_string().contains("statement pooling"),
        _ => false,
    }
}

/// The server became read-only.
const READ_ONLY: &str = "25006";

/// Classes 08 (connection), 40 (deadlock and other rollbacks), 53 (resources) and 57P (shutdown,
/// start-up). What the server's own limits end: statements (57014), locks that are not to be had
/// (55P03), idle transactions (25P03) and long ones (25P04).
fn is_outage_code(code: &str) -> bool {
    ["08", "40", "53", "57P"]
        .iter()
        .any(|class| code.starts_with(class))
        || [READ_ONLY, "57014", "55P03", "25P03", "25P04"].contains(&code)
}

/// The SQLSTATE, if the server answered.
pub(super) fn code_of(error: &sqlx::Error) -> Option<String> {
    let code = error.as_database_error()?.code()?;
    Some(code.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_is_the_same_error_with_the_same_source() {
        let error = StoreError::from(sqlx::Error::RowNotFound);
        assert!(matches!(error, StoreError::Refused(_)));
        let line = "the database refused a statement: no rows returned by a query that expected \
                    to return at least one row";
        assert_eq!(error.clone().with_sources().to_string(), line);
        assert!(matches!(error.clone(), StoreError::Refused(_)));
    }

    #[test]
    fn a_broken_connection_is_an_outage() {
        let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let error = StoreError::from(sqlx::Error::Io(broken));
        assert!(matches!(
            error,
            StoreError::Unavailable(UnavailableReason::Interrupted(_))
        ));
        assert!(error.with_sources().to_string().contains("interrupted"));
    }
}
