//! Downloads the programs of Postgres where none are installed, and stores them in a cache
//! directory.

use std::env;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::account::Account;
use super::releases::{self, Archive, Version};

/// The major version that is downloaded when any will do.
const PREFERRED: u32 = 17;

/// How long a download may take: the archive has about 30 MB.
const TIMEOUT: Duration = Duration::from_mins(3);

/// The program directories of earlier downloads, newest first.
pub(super) fn cached() -> Vec<PathBuf> {
    let names = |cache: &PathBuf| {
        fs::read_dir(cache)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
    };
    let mut found: Vec<_> = caches()
        .iter()
        .flat_map(names)
        .filter_map(|dir| Some((version_of(&dir)?, dir.join("bin"))))
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, bin)| bin).collect()
}

/// Downloads major version `major`, or the preferred one, to a directory that `account` can reach.
/// Returns the directory of the programs.
pub(super) async fn fetch(account: &Account, major: Option<u32>) -> Result<PathBuf, String> {
    let cache = caches()
        .into_iter()
        .find(|cache| account.reaches(cache))
        .ok_or("there is no directory to store it in")?;
    let major = major.unwrap_or(PREFERRED);
    tracing::info!(version = major, to = %cache.display(), "no Postgres is installed: downloading one");
    let archive = tokio::time::timeout(TIMEOUT, releases::download(major))
        .await
        .map_err(|_| format!("the download took longer than {} s", TIMEOUT.as_secs()))?
        .map_err(|error| format!("the download failed: {}", one_line(&error)))?;
    tokio::task::spawn_blocking(move || unpack(&cache, &archive))
        .await
        .map_err(|error| error.to_string())?
        .map_err(|error| one_line(&error))
}

/// Unpacks beside the final directory, so that an interrupted or concurrent run leaves nothing half
/// done.
fn unpack(cache: &Path, archive: &Archive) -> Result<PathBuf, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", cache.display());
    fs::create_dir_all(cache).map_err(failed)?;
    let unfinished = tempfile::tempdir_in(cache).map_err(failed)?;
    extract(&archive.bytes, unfinished.path())?;
    // A temporary directory is private, and an unprivileged user could not enter it.
    fs::set_permissions(unfinished.path(), fs::Permissions::from_mode(0o755)).map_err(failed)?;
    let dir = cache.join(format!("postgresql-{}", archive.version));
    match fs::rename(unfinished.path(), &dir) {
        // Another process was faster.
        Err(_) if dir.join("bin").is_dir() => {}
        renamed => renamed.map_err(failed)?,
    }
    Ok(dir.join("bin"))
}

/// Extracts what is inside the one directory of the archive.
fn extract(archive: &[u8], dir: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot run `tar`: {error}");
    let mut tar = Command::new("tar")
        .args(["-xzof", "-", "--strip-components=1", "-C"])
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    // When `tar` ends early, its own message says more than the broken pipe.
    let written = tar.stdin.take().map(|mut stdin| stdin.write_all(archive));
    let output = tar.wait_with_output().map_err(failed)?;
    if !output.status.success() {
        return Err(format!(
            "`tar` failed: {}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    written.transpose().map(drop).map_err(failed)
}

/// Where downloads may be stored, in order of preference. The last one is for root, whose home is
/// closed to others.
fn caches() -> Vec<PathBuf> {
    let xdg = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let all = [xdg, home, Some("/var/cache".into())].into_iter().flatten();
    all.filter(|dir| dir.is_absolute())
        .map(|dir| dir.join("rejoin"))
        .collect()
}

fn version_of(dir: &Path) -> Option<Version> {
    Version::parse(dir.file_name()?.to_str()?.strip_prefix("postgresql-")?)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_unpacked_where_every_user_can_run_it() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir
            .path()
            .join("postgresql-17.2.0-x86_64-unknown-linux-gnu/bin");
        fs::create_dir_all(&source).unwrap();
        fs::write(source.join("postgres"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(source.join("postgres"), fs::Permissions::from_mode(0o755)).unwrap();
        let pack = "tar -cz postgresql-17.2.0-*";
        let bytes = Command::new("sh")
            .args(["-c", pack])
            .current_dir(dir.path())
            .output()
            .unwrap()
            .stdout;

        let cache = dir.path().join("cache");
        let archive = Archive {
            version: Version::parse("17.2.0").unwrap(),
            bytes,
        };
        let bin = unpack(&cache, &archive).unwrap();
        assert_eq!(unpack(&cache, &archive), Ok(bin.clone()), "a second time");
        assert_eq!(bin, cache.join("postgresql-17.2.0/bin"));
        for path in [bin.parent().unwrap(), &bin, &bin.join("postgres")] {
            assert_eq!(
                fs::metadata(path).unwrap().permissions().mode() & 0o005,
                0o005,
                "{}",
                path.display()
            );
        }
        assert_eq!(version_of(bin.parent().unwrap()), Some(archive.version));
    }
}
