//! The ordering rules.

use std::time::Duration;

use chrono::TimeDelta;
use clap::Args;
use serde_json::value::RawValue;

use super::{ConfigError, text};
use crate::domain::{LeaveMetadata, Rules};

/// The settings of the ordering rules, as given.
#[derive(Args, Debug, Clone, Default)]
pub struct RulesArgs {
    /// How long 100ms keeps a dropped peer in its room: what it reports of that time is no change by the player; 0s turns this off [default: 60s]
    #[arg(long, env = "REJOIN_GHOST", value_name = "DURATION")]
    ghost: Option<String>,
    /// Whether the metadata of a leave event counts: cautious (not if it is empty or that of the join) or trust [default: cautious]
    #[arg(long, env = "REJOIN_LEAVE_METADATA", hide_possible_values = true, value_parser = super::one_of(&["cautious", "trust"]), value_name = "HOW")]
    leave_metadata: Option<String>,
    /// JSON texts, separated by commas, that count as empty metadata, such as {},null
    #[arg(long, env = "REJOIN_EMPTY_METADATA", value_name = "TEXTS")]
    empty_metadata: Option<String>,
}

impl RulesArgs {
    /// Reads the settings.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable.
    pub fn rules(&self) -> Result<Rules, ConfigError> {
        let ghost = humantime::parse_duration(text(self.ghost.as_ref()).unwrap_or("60s"))
            .ok()
            .filter(|ghost| *ghost <= Duration::from_hours(1))
            .and_then(|ghost| TimeDelta::from_std(ghost).ok())
            .ok_or_else(|| {
                ConfigError::should_be("REJOIN_GHOST", "a duration from 0s to 1h such as 60s")
            })?;
        let leave_metadata = match text(self.leave_metadata.as_ref()).unwrap_or("cautious") {
            "cautious" => LeaveMetadata::Cautious,
            "trust" => LeaveMetadata::Trust,
            _ => {
                return Err(ConfigError::should_be(
                    "REJOIN_LEAVE_METADATA",
                    "cautious or trust",
                ));
            }
        };
        // As it is, since the quotes of a JSON string belong to it.
        let empty = self.empty_metadata.as_deref().unwrap_or_default().trim();
        let empty = json_texts(empty).ok_or_else(|| {
            ConfigError::should_be(
                "REJOIN_EMPTY_METADATA",
                "JSON texts, separated by commas, such as {},null",
            )
        })?;
        Ok(Rules {
            ghost,
            leave_metadata,
            empty,
        })
    }
}

/// JSON texts separated by commas, each exactly as it is written. They may hold commas themselves.
fn json_texts(texts: &str) -> Option<Vec<Box<str>>> {
    let list = format!("[{texts}]");
    let texts: Vec<&RawValue> = serde_json::from_str(&list).ok()?;
    Some(texts.into_iter().map(|text| text.get().into()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_texts_may_hold_commas_and_are_taken_exactly() {
        let texts = |list: &str| {
            let texts = json_texts(list)?;
            Some(texts.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(texts(""), Some(vec![]));
        assert_eq!(
            texts(r#"{}, {"a":1, "b":[2,3]},null,"x""#).unwrap(),
            ["{}", r#"{"a":1, "b":[2,3]}"#, "null", r#""x""#]
        );
        for bad in [",", "{},", "{", "x"] {
            assert_eq!(texts(bad), None, "{bad}");
        }
    }
}
