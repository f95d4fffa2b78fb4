//! The settings of the client: where 100ms is, the credentials, and the limits.

use std::fmt;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use crate::domain::Clock;

/// What the service authenticates with at 100ms.
#[derive(Clone)]
pub enum Credentials {
    /// The app's access key and secret: management tokens are signed with them as needed.
    Key {
        /// `HMS_ACCESS_KEY`, which is in every token.
        access_key: String,
        /// `HMS_SECRET`, which tokens are signed with. It is never sent.
        secret: SecretString,
    },
    /// A ready management token from the dashboard, sent as it is. It cannot be renewed.
    Token(SecretString),
}

impl Credentials {
    /// Credentials of an app's key and secret.
    pub fn key(access_key: impl Into<String>, secret: impl Into<String>) -> Self {
        Self::Key {
            access_key: access_key.into(),
            secret: secret.into().into(),
        }
    }

    /// Credentials of a ready management token.
    pub fn token(token: impl Into<String>) -> Self {
        Self::Token(token.into().into())
    }
}

/// Shows the kind only.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key { .. } => "Credentials::Key([REDACTED])",
            Self::Token(_) => "Credentials::Token([REDACTED])",
        })
    }
}

/// The settings of a [`Client`](super::Client).
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The base of all paths, such as `https://api.100ms.live/v2`, with or without a trailing
    /// slash.
    pub base_url: Url,
    /// The credentials.
    pub credentials: Credentials,
    /// The budget of one operation, with everything in it: waiting for a permit, retries, a fresh
    /// token, and the request after a 404.
    pub timeout: Duration,
    /// How many requests may be in flight at once, in all operations together.
    pub max_concurrent: usize,
    /// The longest body of one peer that is read, in bytes.
    pub peer_body_limit: usize,
    /// The longest body of a list of peers that is read, in bytes.
    pub list_body_limit: usize,
    /// The clock that dates observations and tokens.
    pub clock: Clock,
}

impl ClientConfig {
    /// The defaults: 5 s, 64 requests at once, 2 MiB for a peer, 64 MiB for a list, the system
    /// clock.
    pub fn new(base_url: Url, credentials: Credentials) -> Self {
        Self {
            base_url,
            credentials,
            timeout: Duration::from_secs(5),
            max_concurrent: 64,
            peer_body_limit: 2 << 20,
            list_body_limit: 64 << 20,
            clock: Clock::system(),
        }
    }
}

/// How many requests the background may send: a whole number a second or a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamRate {
    interval: Duration,
}

impl UpstreamRate {
    /// The default: 10 a second.
    pub const DEFAULT: Self = Self {
        interval: Duration::from_millis(100),
    };

    /// Reads `10/s` or `30/m`: from one a minute to 1,000 a second.
    pub fn parse(text: &str) -> Option<Self> {
        let (count, unit) = text.split_once('/')?;
        let unit = match unit.trim() {
            "s" => Duration::from_secs(1),
            "m" => Duration::from_mins(1),
            _ => return None,
        };
        let count: u32 = count.trim().parse().ok().filter(|count| *count > 0)?;
        let interval = unit / count;
        (interval >= Duration::from_millis(1)).then_some(Self { interval })
    }

    /// The time between two requests.
    pub fn interval(self) -> Duration {
        self.interval
    }
}

/// Why no client can be made from a [`ClientConfig`].
#[derive(Debug, thiserror::Error)]
pub enum InvalidConfig {
    /// Not `http` or `https`, or with a user name, which would replace the token.
    #[error("the base URL must be an http or https URL without a user name")]
    BaseUrl,
    /// The token is not valid in a header.
    #[error("the management token holds characters that no token has")]
    Token,
    /// TLS or the proxies of the environment could not be set up.
    #[error("the HTTP client could not be set up")]
    Http(#[source] reqwest::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_a_second_or_a_minute() {
        for (text, millis) in [
            ("10/s", Some(100)),
            (" 1 / s", Some(1_000)),
            ("1000/s", Some(1)),
            ("30/m", Some(2_000)),
            ("1/m", Some(60_000)),
            ("1001/s", None),
            ("0/s", None),
            ("-1/s", None),
            ("0.5/s", None),
            ("10", None),
            ("10/h", None),
            ("", None),
        ] {
            let interval = UpstreamRate::parse(text).map(UpstreamRate::interval);
            assert_eq!(interval, millis.map(Duration::from_millis), "{text}");
        }
        assert_eq!(UpstreamRate::parse("10/s"), Some(UpstreamRate::DEFAULT));
    }
}
