//! How a command ends. The codes are for scripts: each says what a job should do next.

use std::fmt;
use std::process::ExitCode;

use crate::config::ConfigError;
use crate::hms::HmsError;
use crate::service::SnapshotError;
use crate::store::StoreError;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: anything that has no code of its own.
    Other,
    /// 2: an argument or a setting cannot be used.
    Usage,
    /// 3: nothing was found: no such peer, nobody in the room, nothing saved.
    NothingFound,
    /// 4: 100ms refused, failed or did not answer.
    Upstream,
    /// 5: the database refused, failed or did not answer.
    Database,
}

impl Exit {
    /// The exit code.
    pub fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Done => 0,
            Self::Other => 1,
            Self::Usage => 2,
            Self::NothingFound => 3,
            Self::Upstream => 4,
            Self::Database => 5,
        })
    }
}

/// The exit codes of a command, for its help.
pub(super) fn codes_of(command: &str) -> String {
    let (done, nothing, upstream, database) = (
        "0 done",
        "3 nothing found",
        "4 100ms failed",
        "5 the database failed",
    );
    let codes: &[&str] = match command {
        "serve" | "migrate" => &[done, database],
        "rejoin" | "snapshot" => &[done, nothing, upstream, database],
        "reconcile" => &[done, upstream, database],
        "resume" | "history" | "watch" => &[done, nothing, database],
        "healthcheck" => &["0 yes"],
        _ => &[done],
    };
    let [first, others @ ..] = codes else {
        return String::new();
    };
    let other = if command == "healthcheck" {
        "1 no"
    } else {
        "1 anything else"
    };
    let usage = "2 a bad argument or setting";
    let codes = [&[*first, other, usage][..], others].concat();
    format!("Exit codes: {}.", codes.join(", "))
}

/// Why a command failed, as one sentence.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
        }
    }

    /// A failure that has no code of its own.
    pub fn other(error: impl fmt::Display) -> Self {
        Self::new(Exit::Other, error.to_string())
    }

    /// A failure of the database.
    pub fn database(error: impl fmt::Display) -> Self {
        Self::new(Exit::Database, format!("the database failed: {error:#}"))
    }

    /// How the command ends.
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::Usage, error.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::new(Exit::Database, error.with_sources().to_string())
    }
}

impl From<HmsError> for Failure {
    fn from(error: HmsError) -> Self {
        let exit = match error {
            HmsError::RoomNotActive | HmsError::PeerNotFound => Exit::NothingFound,
            HmsError::Unauthorized
            | HmsError::RateLimited { .. }
            | HmsError::Overloaded
            | HmsError::Timeout(_)
            | HmsError::Unavailable(_)
            | HmsError::BadResponse(_) => Exit::Upstream,
        };
        Self::new(exit, error.with_causes())
    }
}

impl From<SnapshotError> for Failure {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Upstream(error) => error.into(),
            SnapshotError::Unstorable(refusal) => Self::new(Exit::Other, refusal.to_string()),
            SnapshotError::Store(error) => error.into(),
        }
    }
}
