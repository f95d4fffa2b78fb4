//! One sight of a peer, and what it is made of.

use std::sync::Arc;

use serde_json::Value;

use super::{Metadata, PeerId, Presence, RestoreMark, RoomId, Timestamp, UserId};

/// What identifies a peer in the store. `user_id` comes first: everything of a user lies together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey {
    /// Whose peer it is.
    pub user_id: UserId,
    /// Where it is.
    pub room_id: RoomId,
    /// Which one it is.
    pub peer_id: PeerId,
}

impl PeerKey {
    /// The key of a peer.
    ///
    /// # Errors
    /// [`KeyTooLarge`]: the three ids together are more than an index entry of Postgres holds.
    pub fn new(user_id: UserId, room_id: RoomId, peer_id: PeerId) -> Result<Self, KeyTooLarge> {
        let bytes = user_id.as_str().len() + room_id.as_str().len() + peer_id.as_str().len();
        if bytes > MAX_KEY_BYTES {
            Err(KeyTooLarge { bytes })
        } else {
            Ok(Self {
                user_id,
                room_id,
                peer_id,
            })
        }
    }
}

/// The most that the ids of a peer may have together, in bytes. A B-tree entry holds 2,704, with two times and headers.
/// Only ids of some 250 four-byte characters each reach it.
const MAX_KEY_BYTES: usize = 2_600;

/// The ids of a peer are together too large to be a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "user_id, room_id and peer_id together have {bytes} bytes, and at most {MAX_KEY_BYTES} can be kept"
)]
pub struct KeyTooLarge {
    bytes: usize,
}

/// Where an observation was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// `GET /active-rooms/{room_id}/peers/{peer_id}`, with tracks.
    Peer,
    /// `GET /active-rooms/{room_id}/peers`, without tracks.
    Room,
    /// A webhook, without tracks.
    Webhook,
}

impl Source {
    /// The name in answers and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Room => "room",
            Self::Webhook => "webhook",
        }
    }

    /// The source of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Peer, Self::Room, Self::Webhook]
            .into_iter()
            .find(|source| source.as_str() == name)
    }
}

/// A display name or a role: text that Postgres can keep (a NUL is shown as U+FFFD).
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, utoipa::ToSchema,
)]
#[serde(transparent)]
#[schema(value_type = String)]
pub struct Label(Arc<str>);

impl Label {
    /// A label of this text.
    pub fn new(text: &str) -> Self {
        Self(without_nul(text).into())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The tracks of a peer as 100ms describes them: a JSON object by track id.
///
/// Kept in one canonical form (keys sorted, no spaces), so that equal tracks are equal texts whatever their order on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tracks(Arc<str>);

impl Tracks {
    /// Tracks from the JSON of an upstream answer; `None` when it is no object or nothing a `json` column can keep.
    pub fn from_wire(json: &str) -> Option<Self> {
        let mut value = serde_json::from_str::<Value>(json)
            .ok()
            .filter(Value::is_object)?;
        strip_nul(&mut value);
        Some(Self(value.to_string().into()))
    }

    /// Tracks as [`Tracks::as_str`] gave them.
    pub fn from_canonical(json: impl Into<Arc<str>>) -> Self {
        Self(json.into())
    }

    /// The canonical JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn strip_nul(value: &mut Value) {
    match value {
        Value::String(text) => *text = without_nul(text),
        Value::Array(items) => items.iter_mut().for_each(strip_nul),
        Value::Object(entries) => {
            *entries = std::mem::take(entries)
                .into_iter()
                .map(|(key, mut item)| {
                    strip_nul(&mut item);
                    (without_nul(&key), item)
                })
                .collect();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// One sight of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The peer that was seen.
    pub key: PeerKey,
    /// When the upstream request that was answered was *sent*. All orderings use this time.
    pub observed_at: Timestamp,
    /// Who told.
    pub source: Source,
    /// The exact metadata.
    pub metadata: Metadata,
    /// The display name; `None` says nothing of it.
    pub name: Option<Label>,
    /// The role; `None` says nothing of it.
    pub role: Option<Label>,
    /// The tracks; `None` says nothing of them.
    pub tracks: Option<Tracks>,
    /// When the peer joined, if the source knows.
    pub joined_at: Option<Timestamp>,
}

impl Observation {
    /// A sight that says nothing but the metadata.
    pub fn new(key: PeerKey, observed_at: Timestamp, source: Source, metadata: Metadata) -> Self {
        Self {
            key,
            observed_at,
            source,
            metadata,
            name: None,
            role: None,
            tracks: None,
            joined_at: None,
        }
    }
}

/// What one source told at once: a sight of a peer, something of its presence, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The sight. Where `only_if_unknown`, it just makes the peer known, since its source did not tell the metadata.
    pub observation: Observation,
    /// Whether the sight counts only for a peer that was never seen.
    pub only_if_unknown: bool,
    /// What was told of its presence.
    pub presence: Presence,
    /// Until when the sight is known to have held: of an update, when it was answered. A request that was sent meanwhile may
    /// have been answered before the update took effect.
    pub seen_until: Option<Timestamp>,
    /// What is about to be sent to the peer.
    pub restoring: Option<RestoreMark>,
    /// When it was asked that a saved state be restored to the peer, should it have none of its own.
    pub wants_restore: Option<Timestamp>,
}

impl Report {
    /// Whether most likely nobody has told of the peer before: it tells that it has just joined.
    pub fn is_first_of_its_peer(&self) -> bool {
        let Presence {
            connected_since,
            ended,
            ..
        } = &self.presence;
        ended.is_none() && *connected_since == Some(self.observation.observed_at)
    }
}

impl From<Observation> for Report {
    fn from(observation: Observation) -> Self {
        Self {
            observation,
            only_if_unknown: false,
            presence: Presence::default(),
            seen_until: None,
            restoring: None,
            wants_restore: None,
        }
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
