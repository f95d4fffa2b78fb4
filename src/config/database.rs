//! Where the database is.

use std::str::FromStr;

use clap::Args;
use secrecy::SecretString;
use sqlx::postgres::PgConnectOptions;

use super::{ConfigError, secret_text};

/// Where the database is.
#[derive(Args, Debug, Clone, Default)]
pub struct DatabaseArgs {
    /// The Postgres database: `postgres://user:password@host/database`
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<SecretString>,
}

impl DatabaseArgs {
    /// The arguments for this database.
    pub fn at(url: SecretString) -> Self {
        Self {
            database_url: Some(url),
        }
    }

    /// Whether the setting is set.
    pub fn is_set(&self) -> bool {
        secret_text(self.database_url.as_ref()).is_some()
    }

    /// How to connect.
    ///
    /// # Errors
    /// [`ConfigError`] names `DATABASE_URL`.
    pub fn options(&self) -> Result<PgConnectOptions, ConfigError> {
        let what = "a Postgres URL such as postgres://user:password@localhost:5432/rejoin";
        let wrong = || ConfigError::should_be("DATABASE_URL", what);
        let url = secret_text(self.database_url.as_ref()).ok_or_else(wrong)?;
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
