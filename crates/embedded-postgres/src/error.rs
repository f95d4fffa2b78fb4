//! Why an embedded Postgres cannot run: each message is one sentence that says what to do.

use std::path::{Path, PathBuf};

/// Why an embedded Postgres cannot run.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// `PG_BIN` is set, but not to programs that can be used.
    #[error("PG_BIN is {}, but {why}: set it to a directory with `initdb` and `postgres`, or unset it", dir.display())]
    BadPgBin {
        /// The value.
        dir: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// No usable Postgres is installed, and none could be downloaded.
    #[error(
        "no Postgres {wanted} is installed and none could be downloaded ({why}): install one \
         (`apt-get install postgresql`, `dnf install postgresql-server`, `brew install postgresql`), set PG_BIN to the \
         directory of its programs, or set DATABASE_URL to a running one"
    )]
    NoBinaries {
        /// The versions that would do.
        wanted: String,
        /// Why there was no download.
        why: String,
    },
    /// Root must hand Postgres to another user, and there is none.
    #[error(
        "Postgres refuses to run as root, and this machine has neither a user `postgres` nor `nobody`: add one, or use \
         another user"
    )]
    NoUser,
    /// The user that Postgres runs as cannot reach a directory.
    #[error(
        "Postgres runs as the user `{user}` here, who may not enter {}: choose a directory that every user can reach, \
         such as a new one in /var/lib",
        dir.display()
    )]
    Unreachable {
        /// The unprivileged user.
        user: String,
        /// The directory that shuts it out.
        dir: PathBuf,
    },
    /// Another living process runs a Postgres in the directory.
    #[error("{} is in use by another process: stop that one, or choose another directory", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// A Postgres left over from a killed run does not stop.
    #[error("a Postgres left over from an earlier run in {} does not stop: end process {pid} by hand", dir.display())]
    Stuck {
        /// Its directory.
        dir: PathBuf,
        /// Its process id.
        pid: i32,
    },
    /// The directory holds data, but its password is gone.
    #[error("{} cannot be read ({source}): put it back, or choose another directory", file.display())]
    NoPassword {
        /// Where the password was.
        file: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file or a process could not be handled.
    #[error("cannot {doing} ({source}): check the permissions, or choose another directory")]
    Io {
        /// What was tried.
        doing: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A program of Postgres failed.
    #[error("{program} failed, and its last output was: {tail}")]
    Failed {
        /// `initdb` or `postgres`.
        program: &'static str,
        /// The end of what it wrote.
        tail: String,
    },
}

impl EmbeddedError {
    /// For `map_err` on what is done to a path.
    pub(super) fn io(verb: &str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let doing = format!("{verb} {}", path.display());
        move |source| Self::Io { doing, source }
    }
}
