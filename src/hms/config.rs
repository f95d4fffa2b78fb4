//! What the client is told: where 100ms is, who we are, and how much it may use.

use std::fmt;
use std::time::Duration;

use ::url::Url;
use secrecy::SecretString;

use crate::domain::Clock;

/// What proves to 100ms who is asking.
#[derive(Clone)]
pub enum Credentials {
    /// The app's access key and secret: management tokens are signed with them as needed.
    Key {
        /// `HMS_ACCESS_KEY`, which every token names.
        access_key: String,
        /// `HMS_SECRET`, which signs and is never sent.
        secret: SecretString,
    },
    /// A ready management token from the dashboard, used as it is; once it is refused, nothing can renew it.
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

/// Names the kind only.
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
    /// The base of all paths, such as `https://api.100ms.live/v2`; a trailing slash changes nothing.
    pub base_url: Url,
    /// Who is asking.
    pub credentials: Credentials,
    /// The whole budget of one operation: waiting for a turn, retries, a fresh token and the question after a 404 included.
    pub timeout: Duration,
    /// How many requests may be under way at once, in all operations together.
    pub max_concurrent: usize,
    /// The longest body of one peer that is read, in bytes.
    pub peer_body_limit: usize,
    /// The longest body of a list of peers that is read, in bytes.
    pub list_body_limit: usize,
    /// Dates observations and tokens.
    pub clock: Clock,
}

impl ClientConfig {
    /// The usual settings: 5 s, 64 requests at once, 2 MiB for a peer, 64 MiB for a list, the machine's clock.
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

/// Why a [`ClientConfig`] gives no client.
#[derive(Debug, thiserror::Error)]
pub enum InvalidConfig {
    /// Not `http` or `https`, or with a user name in it, which would take the place of the token.
    #[error("the base URL must be an http or https URL without a user name")]
    BaseUrl,
    /// The token cannot stand in a header.
    #[error("the management token holds characters that no token has")]
    Token,
    /// TLS or the proxies of the environment could not be set up.
    #[error("the HTTP client could not be set up")]
    Http(#[source] reqwest::Error),
}
