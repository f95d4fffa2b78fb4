//! Where webhooks go, and what goes wrong on their way.

use std::collections::BTreeMap;
use std::fmt;

use axum::http::{HeaderName, HeaderValue};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

use super::workflows::ReplaySettings;
use crate::model::SimError;

/// The receiver of all webhooks.
#[derive(Debug, Clone)]
pub struct WebhookTarget {
    pub(super) url: Url,
    pub(super) headers: Vec<(HeaderName, SecretString)>,
}

/// A room's own webhook: the events of the room go there, and not to the target of all others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RoomWebhook {
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

impl RoomWebhook {
    /// None when its URL or a header cannot be used.
    pub(crate) fn target(&self) -> Option<WebhookTarget> {
        let mut headers = Vec::new();
        for (name, value) in &self.headers {
            value.parse::<HeaderValue>().ok()?;
            headers.push((name.parse().ok()?, value.as_str().into()));
        }
        let url = Url::parse(&self.url).ok()?;
        Some(WebhookTarget { url, headers })
    }
}

impl WebhookTarget {
    /// The header that carries the secret when no other is chosen.
    pub const DEFAULT_HEADER: &str = "x-rejoin-secret";

    /// A receiver that knows us by `secret` in the header of that name.
    ///
    /// # Errors
    /// [`SimError::Invalid`] when `url` or `header` is none.
    pub fn new(url: &str, header: &str, secret: SecretString) -> Result<Self, SimError> {
        fn invalid(what: &str, error: impl fmt::Display) -> SimError {
            SimError::Invalid(format!("{what}: {error}"))
        }
        let url = Url::parse(url).map_err(|error| invalid("url", error))?;
        let header: HeaderName = header.parse().map_err(|error| invalid("header", error))?;
        Ok(Self {
            url,
            headers: vec![(header, secret)],
        })
    }
}

/// How webhooks are sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookSettings {
    /// What happens to events on their way: every rule that matches applies, in order.
    pub rules: Vec<WebhookRule>,
    /// When the leave event of a dropped peer comes.
    pub leave_at: LeaveAt,
    /// The reason it gives.
    pub drop_reason: String,
    /// What the waits before retries and between replays are multiplied with.
    pub time_scale: f64,
    /// How many deliveries are in flight at a time. With 1 they start in order, and a slow receiver
    /// holds up the next.
    pub parallel: usize,
    /// Whether every event from now on is lost, whatever the rules say.
    pub lose_all: bool,
    /// What happens to replays that the REST API is asked for.
    pub replays: ReplaySettings,
}

impl Default for WebhookSettings {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            leave_at: LeaveAt::GhostEnd,
            drop_reason: "websocket closed".to_owned(),
            time_scale: 1.0,
            parallel: 1,
            lose_all: false,
            replays: ReplaySettings::default(),
        }
    }
}

/// When the leave event of a dropped peer comes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaveAt {
    /// As the ghost goes: often after the join of the peer that replaces it.
    #[default]
    GhostEnd,
    /// As the connection is lost.
    Drop,
}

/// Which events an effect applies to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookRule {
    /// Only events of these types; all when empty.
    #[serde(default)]
    pub types: Vec<String>,
    /// How many events; without end when none is given.
    #[serde(default)]
    pub times: Option<u32>,
    /// What happens to them.
    pub effect: Effect,
}

/// What happens to an event on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It is never sent, and stands in the history as a delivery that failed.
    Lose,
    /// It is sent this many times more.
    Duplicate(u32),
    /// It is sent after this delay.
    DelayMs(u64),
    /// It is held back until there is a group of this many, which is then sent last first.
    Reorder(usize),
}

impl WebhookRule {
    /// Applies to every event of these types (all when empty).
    pub fn always(types: &[&str], effect: Effect) -> Self {
        Self {
            types: types.iter().map(ToString::to_string).collect(),
            times: None,
            effect,
        }
    }

    pub(super) fn takes(&mut self, kind: &str) -> bool {
        let matches = self.times != Some(0)
            && (self.types.is_empty() || self.types.iter().any(|own| own == kind));
        if matches {
            self.times = self.times.map(|times| times - 1);
        }
        matches
    }
}

/// Which past events are sent again.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Replay {
    /// Only those with these ids; all when empty.
    pub ids: Vec<String>,
    /// Only those of these types; all when empty.
    pub types: Vec<String>,
    /// Whether `is_replay` stands in `data` rather than at the top level.
    pub in_data: bool,
}

impl Replay {
    pub(super) fn takes(&self, id: &str, kind: &str) -> bool {
        let among =
            |list: &[String], own: &str| list.is_empty() || list.iter().any(|item| item == own);
        among(&self.ids, id) && among(&self.types, kind)
    }
}
