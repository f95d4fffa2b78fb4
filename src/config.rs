//! Settings: environment variables and flags, read once at the start.
//!
//! Every error is one sentence that names the variable and says what it should be. Secrets are never part of one.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use axum::http::HeaderName;
use chrono::TimeDelta;
use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;
use url::Url;

use crate::domain::{RestorePolicy, RestoreWhen};
use crate::hms::Credentials;
use crate::hms::webhook::DROP_REASONS;
use crate::http::WebhookSecrets;
use crate::keys::KeyRing;
use crate::service::StoragePolicy;

/// A setting that is missing or cannot be used, as one sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl ConfigError {
    pub(crate) fn should_be(variable: &str, what: &str) -> Self {
        Self(format!("{variable} should be {what}."))
    }
}

/// Where the database is.
#[derive(Args, Debug, Clone, Default)]
pub struct DatabaseArgs {
    /// The Postgres to keep everything in: `postgres://user:password@host/database`
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<SecretString>,
}

impl DatabaseArgs {
    /// The arguments for a database that is known already.
    pub fn at(url: SecretString) -> Self {
        Self {
            database_url: Some(url),
        }
    }

    /// Whether a database is named.
    pub fn is_set(&self) -> bool {
        given(self.database_url.as_ref()).is_some()
    }

    /// How to connect.
    ///
    /// # Errors
    /// [`ConfigError`] names `DATABASE_URL`.
    pub fn options(&self) -> Result<PgConnectOptions, ConfigError> {
        let what = "a Postgres URL such as postgres://user:password@localhost:5432/rejoin";
        let wrong = || ConfigError::should_be("DATABASE_URL", what);
        let url = given(self.database_url.as_ref()).ok_or_else(wrong)?;
        if !["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| url.starts_with(scheme))
        {
            return Err(wrong());
        }
        // The parser's own message could quote the password.
        PgConnectOptions::from_str(url)
            .map(|options| options.application_name("rejoin"))
            .map_err(|_| wrong())
    }
}

/// How 100ms is reached.
#[derive(Args, Debug, Clone, Default)]
pub struct UpstreamArgs {
    /// The app's access key, from 100ms's dashboard
    #[arg(
        long,
        env = "HMS_ACCESS_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    hms_access_key: Option<String>,
    /// The app's secret, from 100ms's dashboard
    #[arg(
        long,
        env = "HMS_SECRET",
        hide_env_values = true,
        value_name = "SECRET"
    )]
    hms_secret: Option<SecretString>,
    /// A ready management token, instead of key and secret
    #[arg(
        long,
        env = "HMS_MANAGEMENT_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    hms_management_token: Option<SecretString>,
    /// The base of 100ms's REST API [default: <https://api.100ms.live/v2>]
    #[arg(long, env = "HMS_BASE_URL", value_name = "URL")]
    hms_base_url: Option<String>,
    /// The whole budget of one upstream operation, retries included [default: 5s]
    #[arg(long, env = "REJOIN_UPSTREAM_TIMEOUT", value_name = "DURATION")]
    upstream_timeout: Option<String>,
}

/// How 100ms is reached, read.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// The base URL.
    pub base_url: Url,
    /// How to be let in.
    pub credentials: Credentials,
    /// The whole budget of one operation.
    pub timeout: Duration,
}

impl UpstreamArgs {
    /// The arguments for an upstream that is known already.
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
        let text = plain(self.hms_base_url.as_ref()).unwrap_or("https://api.100ms.live/v2");
        Url::parse(text)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .filter(|url| url.query().is_none() && url.fragment().is_none())
            // A user name would take the place of the token.
            .filter(|url| url.username().is_empty() && url.password().is_none())
            .ok_or_else(|| {
                let what = "an http or https URL without a user name and a query, such as https://api.100ms.live/v2";
                ConfigError::should_be("HMS_BASE_URL", what)
            })
    }

    fn credentials(&self) -> Result<Credentials, ConfigError> {
        let token = given(self.hms_management_token.as_ref());
        match (plain(self.hms_access_key.as_ref()), given(self.hms_secret.as_ref()), token) {
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
        let text = plain(self.upstream_timeout.as_ref()).unwrap_or("5s");
        humantime::parse_duration(text)
            .ok()
            .filter(|wait| (Duration::from_millis(1)..=Duration::from_mins(5)).contains(wait))
            .ok_or_else(|| {
                ConfigError::should_be(
                    "REJOIN_UPSTREAM_TIMEOUT",
                    "a duration from 1ms to 5min such as 5s",
                )
            })
    }
}

/// What is kept of a peer.
#[derive(Args, Debug, Clone, Default)]
pub struct LimitArgs {
    /// The largest metadata that is kept, in bytes [default: 262144]
    #[arg(long, env = "REJOIN_MAX_METADATA_BYTES", value_name = "BYTES")]
    max_metadata_bytes: Option<String>,
    /// Whether display names are kept [default: true]
    #[arg(long, env = "REJOIN_STORE_NAMES", value_name = "BOOL")]
    store_names: Option<String>,
}

impl LimitArgs {
    /// Reads the settings.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable.
    pub fn limits(&self) -> Result<StoragePolicy, ConfigError> {
        let max_metadata_bytes = plain(self.max_metadata_bytes.as_ref())
            .map_or(Some(262_144), |text| text.parse().ok())
            // The upstream client takes answers of up to 2 MiB.
            .filter(|bytes| (1..=2 << 20).contains(bytes))
            .ok_or_else(|| {
                ConfigError::should_be(
                    "REJOIN_MAX_METADATA_BYTES",
                    "a number of bytes from 1 to 2097152",
                )
            })?;
        let store_names = plain(self.store_names.as_ref())
            .map_or(Some(true), |text| text.parse().ok())
            .ok_or_else(|| ConfigError::should_be("REJOIN_STORE_NAMES", "true or false"))?;
        Ok(StoragePolicy {
            max_metadata_bytes,
            store_names,
        })
    }
}

/// Where the service listens, and to whom.
#[derive(Args, Debug, Clone, Default)]
pub struct ListenArgs {
    /// Where to listen [default: 127.0.0.1:8080]
    #[arg(long, env = "REJOIN_LISTEN", value_name = "ADDRESS")]
    listen: Option<String>,
    /// API keys: `name:scope+scope:sha256-hex-of-key`, separated by commas; `rejoin key new` makes them
    #[arg(
        long,
        env = "REJOIN_API_KEYS",
        hide_env_values = true,
        value_name = "ENTRIES"
    )]
    api_keys: Option<String>,
    /// A file of API keys, one entry a line
    #[arg(long, env = "REJOIN_API_KEYS_FILE", value_name = "FILE")]
    api_keys_file: Option<String>,
}

impl ListenArgs {
    /// The arguments for an address and keys that are known already.
    pub fn at(listen: SocketAddr, api_keys: String) -> Self {
        Self {
            listen: Some(listen.to_string()),
            api_keys: Some(api_keys),
            api_keys_file: None,
        }
    }

    /// Reads the settings.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable; also where the address is not a loopback one and there are no keys.
    pub fn listener(&self) -> Result<(SocketAddr, KeyRing), ConfigError> {
        let listen = self.address()?;
        let keys = self.keys()?;
        if keys.is_empty() && !listen.ip().is_loopback() {
            return Err(ConfigError(
                "REJOIN_API_KEYS or REJOIN_API_KEYS_FILE should hold at least one key (`rejoin key new` makes one), \
                 since REJOIN_LISTEN is not a loopback address."
                    .to_owned(),
            ));
        }
        Ok((listen, keys))
    }

    /// The address alone.
    ///
    /// # Errors
    /// [`ConfigError`] names `REJOIN_LISTEN`.
    pub fn address(&self) -> Result<SocketAddr, ConfigError> {
        plain(self.listen.as_ref())
            .unwrap_or("127.0.0.1:8080")
            .parse()
            .map_err(|_| {
                ConfigError::should_be(
                    "REJOIN_LISTEN",
                    "an address and a port such as 127.0.0.1:8080",
                )
            })
    }

    fn keys(&self) -> Result<KeyRing, ConfigError> {
        let wrong = |variable: &str, why: String| {
            ConfigError(format!(
                "{variable} should hold entries of the form name:scope+scope:sha256-hex-of-key, but {why}."
            ))
        };
        let from_file = match plain(self.api_keys_file.as_ref()) {
            None => KeyRing::default(),
            Some(path) => {
                // The path is left out: it may be a key that was put in the wrong place.
                let text = std::fs::read_to_string(path).map_err(|error| {
                    ConfigError(format!(
                        "REJOIN_API_KEYS_FILE should name a file that can be read, but: {error}."
                    ))
                })?;
                KeyRing::parse(&text)
                    .map_err(|error| wrong("REJOIN_API_KEYS_FILE", error.to_string()))?
            }
        };
        // Who names a file means to have keys; without any, everybody would be let in.
        if plain(self.api_keys_file.as_ref()).is_some() && from_file.is_empty() {
            return Err(wrong(
                "REJOIN_API_KEYS_FILE",
                "the file holds none".to_owned(),
            ));
        }
        let listed = KeyRing::parse(plain(self.api_keys.as_ref()).unwrap_or_default())
            .map_err(|error| wrong("REJOIN_API_KEYS", error.to_string()))?;
        listed.join(from_file).map_err(|name| {
            wrong(
                "REJOIN_API_KEYS_FILE",
                format!("{name} is in REJOIN_API_KEYS too"),
            )
        })
    }
}

/// Webhooks of 100ms.
#[derive(Args, Debug, Clone, Default)]
pub struct WebhookArgs {
    /// Secrets of the webhook, separated by commas so that one can be rotated; without any its path answers 404
    #[arg(
        long,
        env = "REJOIN_WEBHOOK_SECRETS",
        hide_env_values = true,
        value_name = "SECRETS"
    )]
    webhook_secrets: Option<SecretString>,
    /// The header that carries the secret [default: x-rejoin-secret]
    #[arg(long, env = "REJOIN_WEBHOOK_HEADER", value_name = "NAME")]
    webhook_header: Option<String>,
    /// The reasons of a leave that are drops, separated by commas; unless told, the three of a lost network
    #[arg(long, env = "REJOIN_DROP_REASONS", value_name = "REASONS")]
    drop_reasons: Option<String>,
}

/// Webhooks of 100ms, read.
#[derive(Debug, Clone)]
pub struct WebhookConfig {
    /// Who is let in; nobody where there are no secrets.
    pub secrets: Option<WebhookSecrets>,
    /// Which leaves are drops.
    pub drop_reasons: BTreeSet<String>,
}

impl WebhookArgs {
    /// The arguments for a secret that is known already.
    pub fn at(secret: SecretString) -> Self {
        Self {
            webhook_secrets: Some(secret),
            ..Self::default()
        }
    }

    /// Reads the settings.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable.
    pub fn webhooks(&self) -> Result<WebhookConfig, ConfigError> {
        let header = plain(self.webhook_header.as_ref()).unwrap_or("x-rejoin-secret");
        let header = HeaderName::from_str(header).map_err(|_| {
            ConfigError::should_be(
                "REJOIN_WEBHOOK_HEADER",
                "the name of a header such as x-rejoin-secret",
            )
        })?;
        let secrets: Vec<&str> =
            listed(given(self.webhook_secrets.as_ref()).unwrap_or_default()).collect();
        if secrets.is_empty()
            && self
                .webhook_secrets
                .as_ref()
                .is_some_and(|told| !told.expose_secret().trim().is_empty())
        {
            return Err(ConfigError::should_be(
                "REJOIN_WEBHOOK_SECRETS",
                "secrets, separated by commas",
            ));
        }
        let drop_reasons: BTreeSet<String> = match plain(self.drop_reasons.as_ref()) {
            None => DROP_REASONS.map(ToOwned::to_owned).into(),
            Some(reasons) => listed(reasons).map(ToOwned::to_owned).collect(),
        };
        if drop_reasons.is_empty() {
            return Err(ConfigError::should_be(
                "REJOIN_DROP_REASONS",
                "reasons of a leave, separated by commas",
            ));
        }
        let secrets = (!secrets.is_empty()).then(|| WebhookSecrets::new(header, secrets));
        Ok(WebhookConfig {
            secrets,
            drop_reasons,
        })
    }
}

/// Restores that joins cause.
#[derive(Args, Debug, Clone, Default)]
pub struct RestoreArgs {
    /// Which saved states go back to a new, empty peer by themselves: off, dropped or always [default: off]
    #[arg(long, env = "REJOIN_AUTO_RESTORE", value_name = "WHICH")]
    auto_restore: Option<String>,
    /// For how long after the drop [default: 10m]
    #[arg(long, env = "REJOIN_RESTORE_WINDOW", value_name = "DURATION")]
    restore_window: Option<String>,
}

impl RestoreArgs {
    /// The arguments for what is known already: `off`, `dropped` or `always`.
    pub fn at(which: &str) -> Self {
        Self {
            auto_restore: Some(which.to_owned()),
            restore_window: None,
        }
    }

    /// Reads the settings: which states, if any. They need webhooks, which tell of joins.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable.
    pub fn policy(&self, webhooks: &WebhookConfig) -> Result<Option<RestorePolicy>, ConfigError> {
        let when = match plain(self.auto_restore.as_ref()).unwrap_or("off") {
            "off" => None,
            "dropped" => Some(RestoreWhen::Dropped),
            "always" => Some(RestoreWhen::Always),
            _ => {
                return Err(ConfigError::should_be(
                    "REJOIN_AUTO_RESTORE",
                    "off, dropped or always",
                ));
            }
        };
        let window =
            humantime::parse_duration(plain(self.restore_window.as_ref()).unwrap_or("10m"))
                .ok()
                .filter(|window| {
                    (Duration::from_secs(1)..=Duration::from_hours(30 * 24)).contains(window)
                })
                .and_then(|window| TimeDelta::from_std(window).ok())
                .ok_or_else(|| {
                    ConfigError::should_be(
                        "REJOIN_RESTORE_WINDOW",
                        "a duration from 1s to 30days such as 10m",
                    )
                })?;
        if when.is_some() && webhooks.secrets.is_none() {
            let what = "set where REJOIN_AUTO_RESTORE is not off, since webhooks tell of joins";
            return Err(ConfigError::should_be("REJOIN_WEBHOOK_SECRETS", what));
        }
        Ok(when.map(|when| RestorePolicy { when, window }))
    }
}

fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
}

/// The text of an environment variable; empty where it is unset.
///
/// # Errors
/// [`ConfigError`] where it is not text.
pub(crate) fn variable(name: &str) -> Result<String, ConfigError> {
    match std::env::var_os(name).unwrap_or_default().into_string() {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(_) => Err(ConfigError::should_be(name, "text in UTF-8")),
    }
}

/// A setting that is set to something. An empty variable counts as unset, as compose files make them.
fn plain(value: Option<&String>) -> Option<&str> {
    value
        .map(|text| text.trim())
        .filter(|text| !text.is_empty())
}

fn given(value: Option<&SecretString>) -> Option<&str> {
    value
        .map(|secret| secret.expose_secret().trim())
        .filter(|text| !text.is_empty())
}
