//! Automatic restores.

use std::time::Duration;

use chrono::TimeDelta;
use clap::Args;

use super::{ConfigError, WebhookConfig, text};
use crate::domain::{RestorePolicy, RestoreScope, RestoreWhen};

/// The settings of automatic restores, as given.
#[derive(Args, Debug, Clone, Default)]
pub struct RestoreArgs {
    /// Which saved states are restored to a new, empty peer when it joins: off, dropped or always [default: off]
    #[arg(long, env = "REJOIN_AUTO_RESTORE", hide_possible_values = true, value_parser = super::one_of(&["off", "dropped", "always"]), value_name = "WHICH")]
    auto_restore: Option<String>,
    /// How long after the drop a state is restored [default: 10m]
    #[arg(long, env = "REJOIN_RESTORE_WINDOW", value_name = "DURATION")]
    restore_window: Option<String>,
    /// Where a state is restored: in the room that it is of, or in any room [default: room]
    #[arg(long, env = "REJOIN_RESTORE_SCOPE", hide_possible_values = true, value_parser = super::one_of(&["room", "any"]), value_name = "SCOPE")]
    restore_scope: Option<String>,
}

impl RestoreArgs {
    /// The arguments for `off`, `dropped` or `always`.
    pub fn at(which: &str) -> Self {
        Self {
            auto_restore: Some(which.to_owned()),
            ..Self::default()
        }
    }

    /// The same, restoring to peers of the same `room` or of `any`.
    #[must_use]
    pub fn with_scope(self, scope: &str) -> Self {
        Self {
            restore_scope: Some(scope.to_owned()),
            ..self
        }
    }

    /// Reads the settings: which states are restored, if any. Without webhooks no join is known.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable.
    pub fn policy(&self, webhooks: &WebhookConfig) -> Result<Option<RestorePolicy>, ConfigError> {
        let when = match text(self.auto_restore.as_ref()).unwrap_or("off") {
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
        let window = text(self.restore_window.as_ref()).unwrap_or("10m");
        let window = humantime::parse_duration(window)
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
        let scope = match text(self.restore_scope.as_ref()).unwrap_or("room") {
            "room" => RestoreScope::Room,
            "any" => RestoreScope::Any,
            _ => {
                return Err(ConfigError::should_be(
                    "REJOIN_RESTORE_SCOPE",
                    "room or any",
                ));
            }
        };
        if when.is_some() && webhooks.secrets.is_none() {
            let what = "set unless REJOIN_AUTO_RESTORE is off, since webhooks report the joins";
            return Err(ConfigError::should_be("REJOIN_WEBHOOK_SECRETS", what));
        }
        Ok(when.map(|when| RestorePolicy {
            when,
            window,
            scope,
        }))
    }
}
