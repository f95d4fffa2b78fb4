//! How 100ms is reached.

use std::time::Duration;

use clap::Args;
use secrecy::SecretString;
use url::Url;

use super::{ConfigError, secret_text, text};
use crate::hms::Credentials;

/// The settings of 100ms's REST API, as given.
#[derive(Args, Debug, Clone, Default)]
pub struct UpstreamArgs {
    /// The access key of the app, from the dashboard of 100ms
    #[arg(
        long,
        env = "HMS_ACCESS_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    hms_access_key: Option<String>,
    /// The secret of the app, from the dashboard of 100ms
    #[arg(
        long,
        env = "HMS_SECRET",
        hide_env_values = true,
        value_name = "SECRET"
    )]
    hms_secret: Option<SecretString>,
    /// A management token from the dashboard, instead of the access key and the secret
    #[arg(
        long,
        env = "HMS_MANAGEMENT_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    hms_management_token: Option<SecretString>,
    /// The base URL of 100ms's REST API [default: <https://api.100ms.live/v2>]
    #[arg(long, env = "HMS_BASE_URL", value_name = "URL")]
    hms_base_url: Option<String>,
    /// How long one operation on 100ms may take, retries included [default: 5s]
    #[arg(long, env = "REJOIN_UPSTREAM_TIMEOUT", value_name = "DURATION")]
    upstream_timeout: Option<String>,
}

/// How 100ms is reached.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// The base URL.
    pub base_url: Url,
    /// What the service authenticates with.
    pub credentials: Credentials,
    /// The budget of one operation, retries included.
    pub timeout: Duration,
}

impl UpstreamArgs {
    /// The arguments for this upstream.
    pub fn at(base_url: String, access_key: String, secret: SecretString) -> Self {
        Self {
            hms_access_key: Some(access_key),
            hms_secret: Some(secret),
            hms_base_url: Some(base_url),
            ..Self::default()
        }
    }

    /// Reads the settings.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable.
    pub fn upstream(&self) -> Result<Upstream, ConfigError> {
        Ok(Upstream {
            base_url: self.base_url()?,
            credentials: self.credentials()?,
            timeout: self.timeout()?,
        })
    }

    fn base_url(&self) -> Result<Url, ConfigError> {
        let base_url = text(self.hms_base_url.as_ref()).unwrap_or("https://api.100ms.live/v2");
        Url::parse(base_url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .filter(|url| url.query().is_none() && url.fragment().is_none())
            // A user name would replace the token in the `Authorization` header.
            .filter(|url| url.username().is_empty() && url.password().is_none())
            .ok_or_else(|| {
                let what = "an http or https URL without a user name and a query, such as https://api.100ms.live/v2";
                ConfigError::should_be("HMS_BASE_URL", what)
            })
    }

    fn credentials(&self) -> Result<Credentials, ConfigError> {
        let token = secret_text(self.hms_management_token.as_ref());
        let access_key = text(self.hms_access_key.as_ref());
        let secret = secret_text(self.hms_secret.as_ref());
        match (access_key, secret, token) {
            (Some(key), Some(secret), None) => Ok(Credentials::key(key, secret)),
            (None, None, Some(token)) if token.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Ok(Credentials::token(token))
            }
            (None, None, Some(_)) => {
                Err(ConfigError::should_be("HMS_MANAGEMENT_TOKEN", "a token as 100ms's dashboard shows it"))
            }
            (None, None, None) => Err(ConfigError(
                "HMS_ACCESS_KEY and HMS_SECRET should be the app's credentials from 100ms's dashboard \
                 (or HMS_MANAGEMENT_TOKEN a management token)."
                    .to_owned(),
            )),
            (Some(_), None, None) => Err(ConfigError::should_be("HMS_SECRET", "set together with HMS_ACCESS_KEY")),
            (None, Some(_), None) => Err(ConfigError::should_be("HMS_ACCESS_KEY", "set together with HMS_SECRET")),
            (_, _, Some(_)) => Err(ConfigError::should_be(
                "HMS_MANAGEMENT_TOKEN",
                "left unset where HMS_ACCESS_KEY or HMS_SECRET is set",
            )),
        }
    }

    fn timeout(&self) -> Result<Duration, ConfigError> {
        let timeout = text(self.upstream_timeout.as_ref()).unwrap_or("5s");
        humantime::parse_duration(timeout)
            .ok()
            .filter(|timeout| (Duration::from_millis(1)..=Duration::from_mins(5)).contains(timeout))
            .ok_or_else(|| {
                ConfigError::should_be(
                    "REJOIN_UPSTREAM_TIMEOUT",
                    "a duration from 1ms to 5min such as 5s",
                )
            })
    }
}
