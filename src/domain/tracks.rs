//! Tracks: what a peer publishes, as the peer endpoint of 100ms describes it.

use std::sync::Arc;

use serde_json::Value;

use super::label::replace_nul;

/// The tracks of a peer as 100ms describes them: a JSON object by track id.
///
/// Stored in one canonical form (keys sorted, no spaces), so that equal tracks are equal texts,
/// whatever their order on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tracks(Arc<str>);

impl Tracks {
    /// Tracks from the JSON of an upstream answer.
    /// `None` when it is no object, or when a `json` column cannot store it.
    pub fn from_wire(json: &str) -> Option<Self> {
        let mut value = serde_json::from_str::<Value>(json)
            .ok()
            .filter(Value::is_object)?;
        replace_nuls(&mut value);
        Some(Self(value.to_string().into()))
    }

    /// Tracks from a text that [`Tracks::as_str`] returned.
    pub fn from_canonical(json: impl Into<Arc<str>>) -> Self {
        Self(json.into())
    }

    /// The canonical JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn replace_nuls(value: &mut Value) {
    match value {
        Value::String(text) => *text = replace_nul(text),
        Value::Array(items) => items.iter_mut().for_each(replace_nuls),
        Value::Object(entries) => {
            *entries = std::mem::take(entries)
                .into_iter()
                .map(|(key, mut item)| {
                    replace_nuls(&mut item);
                    (replace_nul(&key), item)
                })
                .collect();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracks_do_not_depend_on_order_and_are_always_storable() {
        let one = Tracks::from_wire(r#"{"b": {"mute": true}, "a": {"x": "\u0000"}}"#).unwrap();
        let two = Tracks::from_wire(r#"{"a":{"x":"\u0000"},"b":{"mute":true}}"#).unwrap();
        assert_eq!(one, two);
        assert_eq!(
            one.as_str(),
            "{\"a\":{\"x\":\"\u{fffd}\"},\"b\":{\"mute\":true}}"
        );
        for none in [
            "null",
            "[]",
            "3",
            r#"{"a":"\ud800"}"#,
            &("[".repeat(500) + &"]".repeat(500)),
        ] {
            assert_eq!(Tracks::from_wire(none), None, "{none}");
        }
    }
}
