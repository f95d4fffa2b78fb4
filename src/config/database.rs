//! Where the database is.

use std::str::FromStr;

use clap::Args;
use secrecy::SecretString;
use sqlx::postgres::PgConnectOptions;
use url::Url;

use super::{ConfigError, secret_text};

/// The parameters of the URL that sqlx knows.
const PARAMETERS: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

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
        check_parameters(url)?;
        // The parser's own message could quote the password.
        let options = PgConnectOptions::from_str(url).map_err(|_| wrong())?;
        let options = options.application_name("rejoin");
        // The brackets of an IPv6 address belong to the URL.
        let address = options.get_host().strip_prefix('[');
        Ok(
            match address.and_then(|address| address.strip_suffix(']')) {
                Some(address) => options.clone().host(address),
                None => options,
            },
        )
    }
}

/// Refuses what sqlx would ignore, and log with its value.
fn check_parameters(url: &str) -> Result<(), ConfigError> {
    let several_hosts = || {
        ConfigError::should_be(
            "DATABASE_URL",
            "the URL of one host, that of the primary (a name or a proxy that follows it)",
        )
    };
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    let hosts = authority.rsplit('@').next().unwrap_or_default();
    if hosts.contains(',') {
        return Err(several_hosts());
    }
    let Ok(url) = Url::parse(url) else {
        return Ok(());
    };
    // The rest of a password would count as the database, and be quoted by the server's errors.
    if url.fragment().is_some() || url.path().contains('@') {
        return Err(ConfigError(
            "DATABASE_URL should have its user name and password encoded: write %2F for / and %23 for #."
                .to_owned(),
        ));
    }
    let has_at_sign = url.query().is_some_and(|query| query.contains('@'));
    for (key, value) in url.query_pairs() {
        if key == "host" && value.contains(',') {
            return Err(several_hosts());
        }
        let is_known = PARAMETERS.contains(&&*key) || key.starts_with("options[");
        if is_known {
            continue;
        }
        if key == "target_session_attrs" {
            return Err(ConfigError::should_be(
                "DATABASE_URL",
                "without target_session_attrs, since rejoin itself uses a primary only",
            ));
        }
        // What is no name, or is followed by an `@`, may be a part of a password that was not encoded.
        let is_name = key
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte == b'-');
        return Err(if is_name && key.len() <= 32 && !has_at_sign {
            ConfigError(format!("DATABASE_URL has the unknown parameter {key}."))
        } else {
            ConfigError(
                "DATABASE_URL has an unknown parameter after its `?`; in a user name or a password, write %3F for ?."
                    .to_owned(),
            )
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(url: &str) -> String {
        let options = DatabaseArgs::at(url.into()).options().unwrap();
        options.get_host().to_owned()
    }

    #[test]
    fn an_address_of_ipv6_loses_its_brackets() {
        assert_eq!(host("postgres://u:p@[::1]:5433/rejoin"), "::1");
        assert_eq!(host("postgres://u:p@db.example:5433/rejoin"), "db.example");
        assert_eq!(
            host("postgres://u:a%2Cb@127.0.0.1/rejoin?sslmode=disable"),
            "127.0.0.1"
        );
    }
}
