//! The directory of one embedded Postgres: `data/`, the `password` of its superuser, its `log`, and
//! the `lock` of its owner.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::EmbeddedError;
use super::account::Account;

/// A directory that this process alone uses. A temporary one is removed when it is dropped.
#[derive(Debug)]
pub(super) struct Home {
    path: PathBuf,
    account: Account,
    temporary: Option<TempDir>,
    /// Held while the owner lives, and released by the system when it dies in whatever way.
    _lock: File,
}

impl Home {
    /// Opens `dir`, made if it is missing, or a new temporary directory.
    pub(super) fn open(dir: Option<&Path>) -> Result<Self, EmbeddedError> {
        match dir {
            Some(dir) => Self::open_permanent(dir),
            None => Self::open_temporary(),
        }
    }

    fn open_permanent(dir: &Path) -> Result<Self, EmbeddedError> {
        let account = Account::for_data(&dir.join("data"))?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(dir)
            .map_err(EmbeddedError::io("create", dir))?;
        let path = dir.canonicalize().map_err(EmbeddedError::io("open", dir))?;
        if fs::read_dir(&path)
            .map_err(EmbeddedError::io("read", &path))?
            .next()
            .is_none()
        {
            account
                .give(&path)
                .map_err(EmbeddedError::io("give away", &path))?;
        }
        account.check_reach(&path)?;
        let lock = lock(&path)?;
        Ok(Self {
            path,
            account,
            temporary: None,
            _lock: lock,
        })
    }

    fn open_temporary() -> Result<Self, EmbeddedError> {
        let base = std::env::temp_dir();
        let temporary = tempfile::Builder::new()
            .prefix("embedded-postgres-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .map_err(EmbeddedError::io("create a directory in", &base))?;
        let path = temporary
            .path()
            .canonicalize()
            .map_err(EmbeddedError::io("open", temporary.path()))?;
        let account = Account::for_data(&path.join("data"))?;
        account
            .give(&path)
            .map_err(EmbeddedError::io("give away", &path))?;
        account.check_reach(&path)?;
        let lock = lock(&path)?;
        Ok(Self {
            path,
            account,
            temporary: Some(temporary),
            _lock: lock,
        })
    }

    /// Whom Postgres runs as here.
    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    /// Whether it goes when Postgres stops.
    pub(super) fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }

    /// Leaves the removal of a temporary directory to the supervisor.
    pub(super) fn disable_removal(&mut self) {
        if let Some(temporary) = &mut self.temporary {
            temporary.disable_cleanup(true);
        }
    }

    /// The whole directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The data directory of Postgres.
    pub(super) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// The password's file, readable by its user only.
    pub(super) fn password_file(&self) -> PathBuf {
        self.path.join("password")
    }

    /// The major version that made the data; `None` before there is any.
    pub(super) fn major(&self) -> Option<u32> {
        fs::read_to_string(self.data().join("PG_VERSION"))
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    /// The password of the data.
    pub(super) fn password(&self) -> Result<String, EmbeddedError> {
        let file = self.password_file();
        let text = fs::read_to_string(&file)
            .map_err(|source| EmbeddedError::NoPassword { file, source })?;
        Ok(text.trim().to_owned())
    }

    /// Makes a password for data that is about to be made.
    pub(super) fn new_password(&self) -> Result<(), EmbeddedError> {
        let file = self.password_file();
        let write = || {
            let mut out = create_anew(&file)?;
            self.account.give(&file)?;
            writeln!(out, "{}", hex::encode(rand::random::<[u8; 16]>()))
        };
        write().map_err(EmbeddedError::io("write", &file))
    }

    /// An empty log.
    pub(super) fn new_log(&self) -> Result<File, EmbeddedError> {
        let file = self.path.join("log");
        create_anew(&file).map_err(EmbeddedError::io("write", &file))
    }

    /// The last lines of the log, on one line.
    pub(super) fn log_tail(&self) -> String {
        let log = fs::read(self.path.join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        lines[lines.len().saturating_sub(4)..].join("; ")
    }
}

/// Replaces a file rather than emptying it: the directory may belong to another user than root, who
/// could have put a link there.
fn create_anew(file: &Path) -> io::Result<File> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(file),
    }
}

fn lock(dir: &Path) -> Result<File, EmbeddedError> {
    let path = dir.join("lock");
    let open = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path);
    let file = open.map_err(EmbeddedError::io("write", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(EmbeddedError::InUse {
            dir: dir.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(EmbeddedError::io("lock", &path)(source)),
    }
}
