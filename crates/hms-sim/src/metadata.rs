//! Metadata as it stands on the wire.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Metadata exactly as it stands on the wire: any JSON value, served byte for byte as it was given.
///
/// The usual form is a JSON string; an object, `null`, a lone surrogate (`"\ud800"`) or a 400-digit
/// number are served as faithfully. It can also be left out of the answer altogether.
#[derive(Clone)]
pub struct WireMetadata(Option<Arc<RawValue>>);

impl WireMetadata {
    /// A JSON string with this content, which is what 100ms's clients set.
    pub fn text(content: &str) -> Self {
        Self(serde_json::value::to_raw_value(content).ok().map(Arc::from))
    }

    /// This JSON text, verbatim.
    ///
    /// # Errors
    /// When the text is not one JSON value.
    pub fn json(text: &str) -> Result<Self, serde_json::Error> {
        RawValue::from_string(text.trim().to_owned()).map(|raw| Self(Some(raw.into())))
    }

    /// No `metadata` field at all.
    pub fn absent() -> Self {
        Self(None)
    }

    /// The JSON value on the wire; none when the field is left out.
    pub fn as_raw(&self) -> Option<&RawValue> {
        self.0.as_deref()
    }

    /// Whether it is a JSON string, the only form that update-peer takes.
    pub(super) fn is_string(&self) -> bool {
        self.as_raw().is_some_and(|raw| raw.get().starts_with('"'))
    }

    /// The JSON string that a webhook carries as `user_data`.
    pub(super) fn as_user_data(&self) -> Self {
        match self.as_raw().map(RawValue::get) {
            None | Some("null") => Self::text(""),
            Some(_) if self.is_string() => self.clone(),
            Some(json) => Self::text(json),
        }
    }
}

/// What a new peer has: `""`.
impl Default for WireMetadata {
    fn default() -> Self {
        Self::text("")
    }
}

impl PartialEq for WireMetadata {
    fn eq(&self, other: &Self) -> bool {
        self.as_raw().map(RawValue::get) == other.as_raw().map(RawValue::get)
    }
}

impl fmt::Debug for WireMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_raw().map_or("(absent)", RawValue::get))
    }
}

impl serde::Serialize for WireMetadata {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_raw().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for WireMetadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|raw| Self(Some(raw.into())))
    }
}

/// For an optional field in which `null` is a value of its own: serde would read it as "not given".
pub(super) fn given<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<WireMetadata>, D::Error> {
    WireMetadata::deserialize(deserializer).map(Some)
}
