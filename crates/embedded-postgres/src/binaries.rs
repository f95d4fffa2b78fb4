//! Finds the programs of Postgres on this machine.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::EmbeddedError;
use super::account::Account;
use super::download;

/// The oldest version that Postgres itself still supports.
const OLDEST: u32 = 14;

/// Where Debian, Fedora, a build from source, Homebrew and Postgres.app put the programs. `*` is a
/// version.
const USUAL: [&str; 10] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/bin",
    "/usr/local/bin",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/opt/homebrew/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
];

/// A directory with the programs of a Postgres that can be used.
#[derive(Debug, Clone)]
pub(super) struct Binaries(PathBuf);

impl Binaries {
    /// Finds programs that `account` can run: those of `PG_BIN` if it is set, else installed ones,
    /// else a download. Data that version `made_by` made needs that version.
    pub(super) async fn find(
        account: &Account,
        made_by: Option<u32>,
    ) -> Result<Self, EmbeddedError> {
        let need = Need { account, made_by };
        if let Some(dir) = env::var_os("PG_BIN").filter(|dir| !dir.is_empty()) {
            let dir = PathBuf::from(dir);
            return need
                .check(&dir)
                .map(|()| Self(dir.clone()))
                .map_err(|why| EmbeddedError::BadPgBin { dir, why });
        }
        let installed = path()
            .chain(pg_config())
            .chain(USUAL.into_iter().flat_map(expand));
        if let Some(dir) = installed
            .chain(download::cached())
            .find(|dir| need.check(dir).is_ok())
        {
            return Ok(Self(dir));
        }
        let dir = download::fetch(account, made_by).await;
        let checked = dir.and_then(|dir| need.check(&dir).map(|()| Self(dir)));
        checked.map_err(|why| EmbeddedError::NoBinaries {
            wanted: need.versions(),
            why,
        })
    }

    /// The path of one of the programs.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// What the programs must fulfil.
struct Need<'a> {
    account: &'a Account,
    made_by: Option<u32>,
}

impl Need<'_> {
    /// Checks the programs in `dir`; what is wrong completes "it is set to that, but ...".
    fn check(&self, dir: &Path) -> Result<(), String> {
        for name in ["initdb", "postgres"] {
            let program = dir
                .join(name)
                .canonicalize()
                .map_err(|_| format!("there is no `{name}` in it"))?;
            self.account
                .check_reach(&program)
                .map_err(|error| error.to_string())?;
        }
        let version =
            version(&dir.join("postgres")).ok_or("its `postgres` does not print its version")?;
        let fits = self
            .made_by
            .map_or(version >= OLDEST, |made_by| version == made_by);
        if fits {
            Ok(())
        } else {
            Err(format!(
                "its version is {version}, and it must be {}",
                self.versions()
            ))
        }
    }

    fn versions(&self) -> String {
        self.made_by
            .map_or(format!("{OLDEST} or later"), |made_by| {
                format!("{made_by} (which made the data)")
            })
    }
}

/// The directories of the search path.
fn path() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .filter(|dir| dir.is_absolute())
        .collect::<Vec<_>>()
        .into_iter()
}

fn pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    let dir = String::from_utf8(output.stdout).ok()?;
    Some(PathBuf::from(dir.trim())).filter(|dir| dir.is_absolute())
}

/// The directories of a pattern with at most one `*`, newest version first.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else {
        return vec![pattern.into()];
    };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let names = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    let mut versions: Vec<_> = names
        .filter_map(|name| Some((leading_number(name.strip_prefix(prefix)?)?, name)))
        .collect();
    versions.sort_by(|a, b| b.cmp(a));
    versions
        .into_iter()
        .map(|(_, name)| PathBuf::from(format!("{parent}/{name}{after}")))
        .collect()
}

/// The major version of a `postgres` program.
fn version(postgres: &Path) -> Option<u32> {
    let output = Command::new(postgres).arg("--version").output().ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

fn parse_version(output: &str) -> Option<u32> {
    leading_number(output.split_once("(PostgreSQL) ")?.1)
}

fn leading_number(text: &str) -> Option<u32> {
    text.split(|char: char| !char.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_postgres_prints() {
        assert_eq!(
            parse_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"),
            Some(15)
        );
        assert_eq!(parse_version("postgres (PostgreSQL) 19beta1\n"), Some(19));
        assert_eq!(parse_version("postgres (PostgreSQL) 9.6.24\n"), Some(9));
        assert_eq!(parse_version("sh: not found"), None);
    }

    #[test]
    fn the_newest_version_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["pg-9.6", "pg-17", "pg-14", "pg-other", "else"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let found = expand(&format!("{}/pg-*/bin", dir.path().display()));
        assert_eq!(
            found,
            ["pg-17/bin", "pg-14/bin", "pg-9.6/bin"].map(|name| dir.path().join(name))
        );
        assert!(expand("/nowhere/*/bin").is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn a_directory_that_will_not_do_says_why() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let why = |made_by| {
            Need {
                account: &Account::Own,
                made_by,
            }
            .check(dir.path())
        };
        assert_eq!(why(None).unwrap_err(), "there is no `initdb` in it");
        for name in ["initdb", "postgres"] {
            let program = dir.path().join(name);
            fs::write(&program, "#!/bin/sh\necho 'postgres (PostgreSQL) 13.4'\n").unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        }
        assert_eq!(
            why(None).unwrap_err(),
            "its version is 13, and it must be 14 or later"
        );
        assert_eq!(
            why(Some(15)).unwrap_err(),
            "its version is 13, and it must be 15 (which made the data)"
        );
        assert_eq!(why(Some(13)), Ok(()));
    }
}
