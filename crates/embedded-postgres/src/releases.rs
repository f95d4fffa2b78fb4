//! The releases of <https://github.com/theseus-rs/postgresql-binaries>: which there are, and their
//! archives.

use std::env;
use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use sha2::{Digest, Sha256};

const RELEASES: &str = "https://api.github.com/repos/theseus-rs/postgresql-binaries/releases";

/// How often a request is sent while GitHub fails.
const ATTEMPTS: u32 = 3;

/// The pause between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// A version of Postgres as the releases number it: 17.2.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version([u32; 3]);

/// A compressed tar archive with the programs of one version.
pub(super) struct Archive {
    pub(super) version: Version,
    pub(super) bytes: Vec<u8>,
}

#[derive(Deserialize)]
struct Release {
    tag_name: String,
    assets: Vec<Asset>,
}

#[derive(Deserialize)]
struct Asset {
    name: String,
    browser_download_url: String,
}

impl Version {
    /// Parses "17.2.0".
    pub(super) fn parse(text: &str) -> Option<Self> {
        let numbers: Vec<u32> = text
            .split('.')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .ok()?;
        numbers.try_into().ok().map(Self)
    }

    fn major(self) -> u32 {
        self.0[0]
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self([major, minor, patch]) = self;
        write!(f, "{major}.{minor}.{patch}")
    }
}

/// Downloads the latest archive of this major version for this platform, and checks it against its
/// published hash.
pub(super) async fn download(major: u32) -> Result<Archive, String> {
    let client = Client::builder()
        .user_agent(concat!(
            env!("CARGO_PKG_NAME"),
            "/",
            env!("CARGO_PKG_VERSION")
        ))
        .build()
        .map_err(|error| error.to_string())?;
    let (version, release) = latest(&client, major).await?;
    let name = archive_name(version);
    let asset = |name: &str| {
        release
            .assets
            .iter()
            .find(|asset| asset.name == name)
            .map(|asset| asset.browser_download_url.as_str())
            .ok_or_else(|| format!("its release {version} has no {name}"))
    };
    let (archive, hash) = (asset(&name)?, asset(&format!("{name}.sha256"))?);
    let hash = text(get(client.get(hash)).await?).await?;
    let bytes = get(client.get(archive))
        .await?
        .bytes()
        .await
        .map_err(|error| error.to_string())?;
    check_hash(&hash, &bytes)?;
    Ok(Archive {
        version,
        bytes: bytes.into(),
    })
}

/// Finds the latest release of this major version.
async fn latest(client: &Client, major: u32) -> Result<(Version, Release), String> {
    let mut releases = Vec::new();
    for page in 1.. {
        let request = client
            .get(RELEASES)
            .query(&[("page", page), ("per_page", 100)]);
        let request = match env::var("GITHUB_TOKEN") {
            Ok(token) if !token.is_empty() => request.bearer_auth(token),
            _ => request,
        };
        let answer = get(request).await?.json::<Vec<Release>>().await;
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.is_empty() {
            break;
        }
        releases.extend(answer.into_iter().filter_map(|release| {
            let version = Version::parse(release.tag_name.trim_start_matches('v'))?;
            (version.major() == major).then_some((version, release))
        }));
    }
    releases
        .into_iter()
        .max_by_key(|(version, _)| *version)
        .ok_or_else(|| format!("it has no release of Postgres {major}"))
}

/// Sends a request, and sends it again when the connection or the server fails.
async fn get(request: RequestBuilder) -> Result<Response, String> {
    let mut attempt = 1;
    loop {
        let request = request
            .try_clone()
            .ok_or("a request without a body can be sent again")?;
        let failure = match request.send().await {
            Ok(response) if is_transient(response.status()) => {
                format!("{} answered {}", response.url(), response.status())
            }
            Ok(response) => {
                return response
                    .error_for_status()
                    .map_err(|error| error.to_string());
            }
            Err(error) => with_sources(&error),
        };
        if attempt == ATTEMPTS {
            return Err(failure);
        }
        attempt += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

fn is_transient(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

/// What reqwest says, and why: its own message names the address alone.
fn with_sources(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

async fn text(response: Response) -> Result<String, String> {
    response.text().await.map_err(|error| error.to_string())
}

fn archive_name(version: Version) -> String {
    format!("postgresql-{version}-{}.tar.gz", env!("TARGET"))
}

/// Checks against the published hash: its hexadecimal digits come first, and maybe a file name
/// after them.
fn check_hash(published: &str, bytes: &[u8]) -> Result<(), String> {
    let actual = hex::encode(Sha256::digest(bytes));
    match published.split_whitespace().next() {
        Some(expected) if expected.eq_ignore_ascii_case(&actual) => Ok(()),
        _ => Err("the archive differs from its published hash".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_number() {
        let version = |text| Version::parse(text).unwrap();
        assert!(version("17.10.0") > version("17.9.1"));
        assert_eq!(version("17.2.0").to_string(), "17.2.0");
        for text in ["", "17", "17.2", "17.2.0.1", "17.x.0", "latest"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_archive_is_taken_only_with_its_hash() {
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        for published in [
            hash,
            &hash.to_uppercase(),
            &format!("{hash}  some.tar.gz\n"),
        ] {
            assert_eq!(check_hash(published, b"abc"), Ok(()));
        }
        for published in ["", "<html>", &hash[..62]] {
            assert!(check_hash(published, b"abc").is_err());
        }
        assert!(check_hash(hash, b"abcd").is_err());
    }
}
