//! A real Postgres that lives as long as the process that started it, for demos, trials and tests.
//!
//! `binaries` finds its programs (or `download`s them from the `releases`), `home` is the directory
//! it lives in, `account` whom it runs as, `cluster` makes its data and starts it, `supervisor`
//! makes sure that it never outlives this process, and `leftover` takes over from a run where even
//! the supervisor was killed. Nothing here knows what is stored in the database.

mod account;
mod binaries;
mod cluster;
mod download;
mod error;
mod home;
mod leftover;
mod releases;
mod supervisor;

use std::path::{Path, PathBuf};
use std::process::ChildStdin;

use self::binaries::Binaries;
use self::home::Home;
use self::supervisor::Supervisor;

pub use self::error::EmbeddedError;

/// A running Postgres, reached over the loopback interface with a random password.
///
/// It stops when this is dropped, and however the process ends: Ctrl-C, a panic, `exit`, `kill -9`.
/// A temporary directory is removed with it.
pub struct EmbeddedPostgres {
    url: String,
    // In this order: Postgres stops before its directory goes and is unlocked.
    supervisor: Supervisor,
    home: Home,
}

/// How an [`EmbeddedPostgres`] is to run.
#[derive(Debug, Clone)]
#[must_use]
pub struct Options {
    dir: Option<PathBuf>,
    durability: Durability,
    max_connections: u16,
}

/// What a commit promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// What Postgres promises by default: a commit survives a power failure.
    Full,
    /// Nothing of the data may survive a crash of the machine. Faster, for tests.
    None,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            dir: None,
            durability: Durability::Full,
            max_connections: 100,
        }
    }
}

impl Options {
    /// Stores the data in `dir`, which is created if it is missing. Without it the data is
    /// temporary.
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Sets what a commit promises.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets how many connections may be open at once.
    pub fn max_connections(mut self, max_connections: u16) -> Self {
        self.max_connections = max_connections;
        self
    }

    /// Starts it, and returns when it answers.
    ///
    /// # Errors
    /// [`EmbeddedError`] says in one sentence what to do.
    pub async fn start(self) -> Result<EmbeddedPostgres, EmbeddedError> {
        let home = Home::open(self.dir.as_deref())?;
        let binaries = Binaries::find(home.account(), home.major()).await?;
        leftover::stop(&home.data()).await?;
        cluster::create(&home, &binaries).await?;
        let (supervisor, url) = cluster::run(&home, &binaries, &self).await?;
        Ok(EmbeddedPostgres {
            url,
            supervisor,
            home,
        })
    }
}

impl EmbeddedPostgres {
    /// Starts a Postgres with its data in `dir`, or in a temporary directory, and default
    /// [`Options`].
    ///
    /// # Errors
    /// [`EmbeddedError`] says in one sentence what to do.
    pub async fn start(dir: Option<&Path>) -> Result<Self, EmbeddedError> {
        Options {
            dir: dir.map(ToOwned::to_owned),
            ..Options::default()
        }
        .start()
        .await
    }

    /// The URL of its database `rejoin`, with the superuser's password.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The directory that holds its data, log and password.
    pub fn dir(&self) -> &Path {
        self.home.path()
    }

    /// Stops it, and returns when it has. Dropping does the same, but blocks the thread meanwhile.
    pub async fn stop(self) {
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }

    /// Lets it run on until the returned pipe is closed by whoever holds it then, such as a child
    /// process that inherits it.
    ///
    /// The directory is no longer locked when this process ends.
    pub fn release(mut self) -> Option<ChildStdin> {
        self.home.disable_removal();
        self.supervisor.release()
    }
}

/// Leaves the password out.
impl std::fmt::Debug for EmbeddedPostgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedPostgres")
            .field("dir", &self.dir())
            .finish_non_exhaustive()
    }
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
