//! rejoin's own events.

use clap::Args;

use super::{ConfigError, text};
use crate::domain::EventPolicy;

/// The settings of own events, as given.
#[derive(Args, Debug, Clone, Default)]
pub struct EventArgs {
    /// Whether drops, saved states, restores and claims are events that are passed on too [default: false]
    #[arg(long, env = "REJOIN_FORWARD_EVENTS", hide_possible_values = true, value_parser = super::one_of(&["true", "false"]), value_name = "BOOL")]
    forward_events: Option<String>,
    /// Whether these events have the metadata [default: false]
    #[arg(long, env = "REJOIN_FORWARD_METADATA", hide_possible_values = true, value_parser = super::one_of(&["true", "false"]), value_name = "BOOL")]
    forward_metadata: Option<String>,
}

impl EventArgs {
    /// The arguments for events, with the metadata or without.
    pub fn on(with_metadata: bool) -> Self {
        Self {
            forward_events: Some(true.to_string()),
            forward_metadata: Some(with_metadata.to_string()),
        }
    }

    /// Reads the settings; none where there are no such events.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable.
    pub fn policy(&self) -> Result<Option<EventPolicy>, ConfigError> {
        let is_on = flag("REJOIN_FORWARD_EVENTS", self.forward_events.as_ref())?;
        let with_metadata = flag("REJOIN_FORWARD_METADATA", self.forward_metadata.as_ref())?;
        if with_metadata && !is_on {
            let what = "set together with REJOIN_FORWARD_EVENTS=true";
            return Err(ConfigError::should_be("REJOIN_FORWARD_METADATA", what));
        }
        Ok(is_on.then_some(EventPolicy { with_metadata }))
    }
}

fn flag(variable: &str, value: Option<&String>) -> Result<bool, ConfigError> {
    text(value)
        .map_or(Some(false), |text| text.parse().ok())
        .ok_or_else(|| ConfigError::should_be(variable, "true or false"))
}
