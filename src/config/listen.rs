//! Where the service listens, and the API keys.

use std::net::SocketAddr;

use clap::Args;

use super::{ConfigError, text};
use crate::keys::KeyRing;

/// The address and the API keys, as given.
#[derive(Args, Debug, Clone, Default)]
pub struct ListenArgs {
    /// The address and port to listen on [default: 127.0.0.1:8080]
    #[arg(long, env = "REJOIN_LISTEN", value_name = "ADDRESS")]
    listen: Option<String>,
    /// The API keys, separated by commas: `name:scope+scope:sha256-hex-of-key`; `rejoin key new` makes one
    #[arg(
        long,
        env = "REJOIN_API_KEYS",
        hide_env_values = true,
        value_name = "ENTRIES"
    )]
    api_keys: Option<String>,
    /// A file of API keys, one entry per line
    #[arg(long, env = "REJOIN_API_KEYS_FILE", value_name = "FILE")]
    api_keys_file: Option<String>,
    /// How many connections of clients may be open at a time [default: 10000]
    #[arg(long, env = "REJOIN_MAX_CONNECTIONS", value_name = "NUMBER")]
    max_connections: Option<String>,
}

impl ListenArgs {
    /// The arguments for this address and these keys.
    pub fn at(listen: SocketAddr, api_keys: String) -> Self {
        Self {
            listen: Some(listen.to_string()),
            api_keys: Some(api_keys),
            ..Self::default()
        }
    }

    /// Reads the settings.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable. An address other than a loopback one needs keys.
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
        text(self.listen.as_ref())
            .unwrap_or("127.0.0.1:8080")
            .parse()
            .map_err(|_| {
                ConfigError::should_be(
                    "REJOIN_LISTEN",
                    "an address and a port such as 127.0.0.1:8080",
                )
            })
    }

    /// How many connections may be open at a time.
    ///
    /// # Errors
    /// [`ConfigError`] names `REJOIN_MAX_CONNECTIONS`.
    pub fn max_connections(&self) -> Result<usize, ConfigError> {
        text(self.max_connections.as_ref())
            .map_or(Some(10_000), |text| text.parse().ok())
            .filter(|connections| (1..=1_000_000).contains(connections))
            .ok_or_else(|| {
                ConfigError::should_be("REJOIN_MAX_CONNECTIONS", "a number from 1 to 1000000")
            })
    }

    fn keys(&self) -> Result<KeyRing, ConfigError> {
        let unusable = |variable: &str, why: String| {
            ConfigError(format!(
                "{variable} should hold entries of the form name:scope+scope:sha256-hex-of-key, but {why}."
            ))
        };
        let from_file = match text(self.api_keys_file.as_ref()) {
            None => KeyRing::default(),
            Some(path) => {
                // Without the path, which may be a key that was put in the wrong setting.
                let text = std::fs::read_to_string(path).map_err(|error| {
                    ConfigError(format!(
                        "REJOIN_API_KEYS_FILE should name a file that can be read, but: {error}."
                    ))
                })?;
                KeyRing::parse(text.trim_start_matches('\u{feff}'))
                    .map_err(|error| unusable("REJOIN_API_KEYS_FILE", error.to_string()))?
            }
        };
        // Without keys everybody is let in, and whoever names a file does not mean that.
        if text(self.api_keys_file.as_ref()).is_some() && from_file.is_empty() {
            return Err(unusable(
                "REJOIN_API_KEYS_FILE",
                "the file holds none".to_owned(),
            ));
        }
        let listed = KeyRing::parse(text(self.api_keys.as_ref()).unwrap_or_default())
            .map_err(|error| unusable("REJOIN_API_KEYS", error.to_string()))?;
        listed.join(from_file).map_err(|name| {
            unusable(
                "REJOIN_API_KEYS_FILE",
                format!("{name} is in REJOIN_API_KEYS too"),
            )
        })
    }
}
