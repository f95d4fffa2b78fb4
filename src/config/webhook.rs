//! Webhooks of 100ms.

use std::collections::BTreeSet;
use std::str::FromStr;

use ::http::HeaderName;
use clap::Args;
use secrecy::SecretString;

use super::{ConfigError, list, secret_text, text};
use crate::hms::webhook::DROP_REASONS;
use crate::keys::WebhookSecrets;

/// The shortest secret. What is shorter is most likely a part of one that has a comma in it.
const MIN_SECRET_BYTES: usize = 8;

/// The settings of webhooks, as given.
#[derive(Args, Debug, Clone, Default)]
pub struct WebhookArgs {
    /// The secrets of the webhook, separated by commas; without any, its path answers 404
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
    /// The leave reasons that count as drops, separated by commas; without any, the three of a lost connection
    #[arg(long, env = "REJOIN_DROP_REASONS", value_name = "REASONS")]
    drop_reasons: Option<String>,
}

/// Which webhooks are accepted, and which leaves are drops.
#[derive(Debug, Clone)]
pub struct WebhookConfig {
    /// The secrets; without any, no event is accepted.
    pub secrets: Option<WebhookSecrets>,
    /// The reasons of leaves that are drops.
    pub drop_reasons: BTreeSet<String>,
}

impl WebhookArgs {
    /// The arguments for this secret.
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
        let header = text(self.webhook_header.as_ref()).unwrap_or(WebhookSecrets::DEFAULT_HEADER);
        let header = HeaderName::from_str(header).map_err(|_| {
            ConfigError::should_be(
                "REJOIN_WEBHOOK_HEADER",
                "the name of a header such as x-rejoin-secret",
            )
        })?;
        let secrets = secret_text(self.webhook_secrets.as_ref());
        let is_set = secrets.is_some();
        let secrets: Vec<&str> = list(secrets.unwrap_or_default()).collect();
        let is_short = |secret: &&str| secret.len() < MIN_SECRET_BYTES;
        if (secrets.is_empty() && is_set) || secrets.iter().any(is_short) {
            return Err(ConfigError::should_be(
                "REJOIN_WEBHOOK_SECRETS",
                "secrets of at least 8 characters without commas, separated by commas",
            ));
        }
        let drop_reasons: BTreeSet<String> = match text(self.drop_reasons.as_ref()) {
            None => DROP_REASONS.map(ToOwned::to_owned).into(),
            Some(reasons) => list(reasons).map(ToOwned::to_owned).collect(),
        };
        if drop_reasons.is_empty() {
            return Err(ConfigError::should_be(
                "REJOIN_DROP_REASONS",
                "leave reasons, separated by commas",
            ));
        }
        let secrets = (!secrets.is_empty()).then(|| WebhookSecrets::new(header, secrets));
        Ok(WebhookConfig {
            secrets,
            drop_reasons,
        })
    }
}
