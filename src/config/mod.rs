//! Settings: environment variables and flags, read once at the start, a file for each subject.
//!
//! An error is one sentence that names the variable and says what it should be, and never quotes
//! a secret. An empty variable counts as unset, since compose files set variables to nothing.

mod compaction;
mod database;
mod event;
mod forward;
mod history;
mod listen;
mod restore;
mod rules;
mod storage;
mod upstream;
mod watch;
mod webhook;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use secrecy::{ExposeSecret, SecretString};

pub use compaction::CompactionArgs;
pub use database::DatabaseArgs;
pub use event::EventArgs;
pub use forward::ForwardArgs;
pub use history::{HistoryArgs, HistoryConfig, PartitionArgs};
pub use listen::ListenArgs;
pub use restore::RestoreArgs;
pub use rules::RulesArgs;
pub use storage::StorageArgs;
pub use upstream::{Upstream, UpstreamArgs};
pub use watch::{WatchArgs, WatchConfig};
pub use webhook::{WebhookArgs, WebhookConfig};

/// A setting that is missing or cannot be used, as one sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl ConfigError {
    pub(crate) fn should_be(variable: &str, what: &str) -> Self {
        Self(format!("{variable} should be {what}."))
    }
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

/// Any text, of which completions offer these values. What a setting may be is checked later, so
/// that an error names its variable.
pub(crate) fn one_of(values: &'static [&'static str]) -> Suggestions {
    Suggestions(values)
}

/// See [`one_of`].
#[derive(Clone)]
pub(crate) struct Suggestions(&'static [&'static str]);

impl TypedValueParser for Suggestions {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0.iter().map(PossibleValue::new)))
    }
}

/// The text of a setting, if it is set.
fn text(value: Option<&String>) -> Option<&str> {
    value
        .map(|text| unquoted(text))
        .filter(|text| !text.is_empty())
}

/// The text without what editors and `--env-file` leave around it: a byte order mark, white space,
/// and a pair of quotes, where there are no others in between.
fn unquoted(text: &str) -> &str {
    let text = text.trim_start_matches('\u{feff}').trim();
    ['"', '\'']
        .iter()
        .find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote))
        .filter(|inner| !inner.contains(&text[..1]))
        .map_or(text, str::trim)
}

/// The text of a secret setting, if it is set.
fn secret_text(value: Option<&SecretString>) -> Option<&str> {
    value
        .map(|secret| unquoted(secret.expose_secret()))
        .filter(|text| !text.is_empty())
}

/// The parts of a text that commas separate, without empty ones and without quotes around each.
fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(unquoted)
        .filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{list, unquoted};

    #[test]
    fn each_part_of_a_list_may_have_quotes_of_its_own() {
        for given in ["x,y", "\"x\",\"y\"", " 'x' , y,, "] {
            assert_eq!(list(given).collect::<Vec<_>>(), ["x", "y"], "{given}");
        }
    }

    #[test]
    fn what_editors_and_env_files_leave_around_a_text_is_removed() {
        for (given, text) in [
            (" x ", "x"),
            ("\"x\"", "x"),
            ("' x '", "x"),
            ("\u{feff}x", "x"),
            ("\u{feff} \"x\" ", "x"),
            ("\"\"", ""),
            // Only a pair can be meant as quotes.
            ("\"x", "\"x"),
            ("\"x'", "\"x'"),
            ("\"", "\""),
            ("x\"y\"", "x\"y\""),
            ("\"x\",\"y\"", "\"x\",\"y\""),
        ] {
            assert_eq!(unquoted(given), text, "{given:?}");
        }
    }
}
