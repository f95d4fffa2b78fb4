//! What a room can be set to: the body of create-room and update-room, checked.

use serde::Deserialize;
use serde_json::Value;

use crate::webhooks::RoomWebhook;

/// The region of the simulated template.
const TEMPLATE_REGION: &str = "us";
const REGIONS: [&str; 4] = ["eu", "in", "us", "auto"];
const MIN_DURATION: u32 = 120;
const MAX_DURATION: u32 = 43_200;
const MAX_SIZE: u32 = 2500;
const MAX_LARGE_SIZE: u32 = 20_000;

/// The settings of a room; what is none stays, or is as by default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RoomSettings {
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) template_id: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) enabled: Option<bool>,
    pub(crate) recording_info: Option<Value>,
    pub(crate) large_room: Option<bool>,
    pub(crate) size: Option<u32>,
    pub(crate) max_duration_seconds: Option<u32>,
    pub(crate) polls: Option<Vec<String>>,
    pub(crate) webhook: WebhookChange,
    template: Option<Value>,
}

/// What becomes of a room's own webhook.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(from = "Option<RoomWebhook>")]
pub(crate) enum WebhookChange {
    /// It stays: the field is absent.
    #[default]
    None,
    /// It is taken away: the field is `null`. How 100ms does that is not documented.
    Remove,
    /// It is this one.
    Set(RoomWebhook),
}

impl From<Option<RoomWebhook>> for WebhookChange {
    fn from(given: Option<RoomWebhook>) -> Self {
        given.map_or(Self::Remove, Self::Set)
    }
}

impl RoomSettings {
    /// Reads a body; the error is the message of a 400, in 100ms's words where they are documented.
    pub(crate) fn of_body(body: &[u8]) -> Result<Self, String> {
        let body = if body.is_empty() { b"{}" } else { body };
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err("Invalid body: it must be an object".to_owned());
        }
        let settings: Self =
            serde_json::from_slice(body).map_err(|error| format!("Invalid body: {error}"))?;
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), String> {
        let name_is_good = self.name.as_deref().is_none_or(is_name);
        let region_is_good = self
            .region
            .as_deref()
            .is_none_or(|region| REGIONS.contains(&region));
        let webhook_is_good = match &self.webhook {
            WebhookChange::Set(webhook) => webhook.target().is_some(),
            WebhookChange::None | WebhookChange::Remove => true,
        };
        let seconds = self.max_duration_seconds;
        let largest = if self.large_room == Some(true) {
            MAX_LARGE_SIZE
        } else {
            MAX_SIZE
        };
        let message = if self.template.is_some() {
            "Invalid body param: template. Use template_id"
        } else if !name_is_good {
            "Invalid body param: name"
        } else if !region_is_good {
            "Error: region not supported"
        } else if seconds.is_some_and(|seconds| seconds < MIN_DURATION) {
            "Invalid body param: max_duration_seconds less than 120 seconds"
        } else if seconds.is_some_and(|seconds| seconds > MAX_DURATION) {
            "Invalid body param: max_duration_seconds greater than 43200 seconds"
        } else if self.size.is_some_and(|size| size > largest) {
            "Invalid body param: size"
        } else if !webhook_is_good {
            "Invalid body param: webhook"
        } else {
            return Ok(());
        };
        Err(message.to_owned())
    }

    /// The region that is meant; `auto` is that of the template.
    pub(crate) fn region(&self) -> Option<String> {
        self.region.as_deref().map(|region| match region {
            "auto" => TEMPLATE_REGION.to_owned(),
            region => region.to_owned(),
        })
    }

    /// The region where none is given.
    pub(crate) fn default_region() -> String {
        TEMPLATE_REGION.to_owned()
    }
}

/// Whether a name has the documented characters alone.
fn is_name(name: &str) -> bool {
    let is_good = |char: char| char.is_ascii_alphanumeric() || ".-:_".contains(char);
    !name.is_empty() && name.chars().all(is_good)
}
