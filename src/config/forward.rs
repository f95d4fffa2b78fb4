//! Where events are passed on to.

use clap::Args;
use secrecy::SecretString;

use super::{ConfigError, WebhookConfig, secret_text};
use crate::domain::EventPolicy;
use crate::forward::{Endpoint, SigningSecret};

/// The settings of forwards, as given.
#[derive(Args, Debug, Clone, Default)]
#[expect(clippy::struct_field_names, reason = "they are the names of the flags")]
pub struct ForwardArgs {
    /// Where every event of 100ms is passed on to, byte for byte
    #[arg(
        long,
        env = "REJOIN_FORWARD_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    forward_url: Option<SecretString>,
    /// What these requests are signed with by Standard Webhooks: `whsec_` and 24 to 64 bytes in base64
    #[arg(
        long,
        env = "REJOIN_FORWARD_SECRET",
        hide_env_values = true,
        value_name = "SECRET"
    )]
    forward_secret: Option<SecretString>,
    /// Headers that these requests carry: `name: value`, one a line, or in one line with commas in between
    #[arg(
        long,
        env = "REJOIN_FORWARD_HEADERS",
        hide_env_values = true,
        value_name = "HEADERS"
    )]
    forward_headers: Option<SecretString>,
}

impl ForwardArgs {
    /// The arguments for this endpoint.
    pub fn to(url: &str) -> Self {
        Self {
            forward_url: Some(url.to_owned().into()),
            ..Self::default()
        }
    }

    /// The same with a secret and headers.
    #[must_use]
    pub fn with(self, secret: &str, headers: &str) -> Self {
        Self {
            forward_secret: Some(secret.to_owned().into()),
            forward_headers: Some(headers.to_owned().into()),
            ..self
        }
    }

    /// Checks that our own events, if there are any, have somewhere to go.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable.
    pub fn check_events(&self, events: Option<EventPolicy>) -> Result<(), ConfigError> {
        if events.is_some() && secret_text(self.forward_url.as_ref()).is_none() {
            let what = "set together with REJOIN_FORWARD_URL";
            return Err(ConfigError::should_be("REJOIN_FORWARD_EVENTS", what));
        }
        Ok(())
    }

    /// Reads the settings; none where nothing is passed on. `events` are those of our own.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable.
    pub fn endpoint(
        &self,
        webhooks: &WebhookConfig,
        events: Option<EventPolicy>,
    ) -> Result<Option<Endpoint>, ConfigError> {
        self.check_events(events)?;
        let Some(url) = secret_text(self.forward_url.as_ref()) else {
            let others = [
                ("REJOIN_FORWARD_SECRET", &self.forward_secret),
                ("REJOIN_FORWARD_HEADERS", &self.forward_headers),
            ];
            for (variable, value) in others {
                if secret_text(value.as_ref()).is_some() {
                    let what = "set together with REJOIN_FORWARD_URL";
                    return Err(ConfigError::should_be(variable, what));
                }
            }
            return Ok(None);
        };
        let endpoint = Endpoint::at(url).ok_or_else(|| {
            let what = "an https URL without a user name, or an http one of this machine";
            ConfigError::should_be("REJOIN_FORWARD_URL", what)
        })?;
        if webhooks.secrets.is_none() && events.is_none() {
            let what = "set together with REJOIN_WEBHOOK_SECRETS or REJOIN_FORWARD_EVENTS=true, since only events are passed on";
            return Err(ConfigError::should_be("REJOIN_FORWARD_URL", what));
        }
        let secret = secret_text(self.forward_secret.as_ref()).map(|text| {
            SigningSecret::parse(text).ok_or_else(|| {
                let what = "whsec_ and 24 to 64 bytes in base64";
                ConfigError::should_be("REJOIN_FORWARD_SECRET", what)
            })
        });
        let headers = secret_text(self.forward_headers.as_ref()).unwrap_or_default();
        let endpoint = endpoint.signed_with(secret.transpose()?);
        let endpoint = endpoint.with_headers(headers).ok_or_else(|| {
            let what = "headers such as `x-token: secret`, one a line, or in one line with commas in between";
            ConfigError::should_be("REJOIN_FORWARD_HEADERS", what)
        })?;
        Ok(Some(endpoint))
    }
}
