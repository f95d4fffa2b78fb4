//! Ids, and other names that callers give: parsed once at the edge, and opaque after that.

use std::fmt;
use std::sync::Arc;

/// The maximum length of an id, in characters.
const MAX_ID_CHARS: usize = 256;

/// Why a text is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// The text is empty.
    #[error("it is empty")]
    Empty,
    /// The text has more than 256 characters.
    #[error("it is longer than {MAX_ID_CHARS} characters")]
    TooLong,
    /// The text has a control character: a `text` column cannot store a NUL, and logs cannot show
    /// the others.
    #[error("it contains a control character")]
    ControlCharacter,
    /// Every URL library removes `.` and `..` from paths, so the id could reach another path of
    /// 100ms.
    #[error("it is `.` or `..`, which cannot stand in a URL path")]
    DotSegment,
}

fn check(text: &str) -> Result<(), InvalidId> {
    match text {
        "" => Err(InvalidId::Empty),
        "." | ".." => Err(InvalidId::DotSegment),
        _ if text.chars().nth(MAX_ID_CHARS).is_some() => Err(InvalidId::TooLong),
        _ if text.chars().any(char::is_control) => Err(InvalidId::ControlCharacter),
        _ => Ok(()),
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// 1 to 256 characters, none of them a control character; neither `.` nor `..`.
        /// Cheap to clone.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses an id.
            ///
            /// # Errors
            /// [`InvalidId`] says what is wrong with the text.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                check(text).map(|()| Self(text.into()))
            }

            /// The id as 100ms writes it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

id! {
    /// The customer's own id of a person, from the join token. A room may have several peers of
    /// one.
    UserId
}
id! {
    /// A room of 100ms.
    RoomId
}
id! {
    /// One connection of one person in a room. Every join makes a new one.
    PeerId
}

id! {
    /// A session: the time from when a room has peers until it has none.
    SessionId
}

id! {
    /// The name of a role, as a filter.
    RoleName
}

id! {
    /// Who claims a saved state, in its own words; for example a game server.
    Claimant
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_opaque_but_bounded() {
        for good in [
            "player-7",
            "a/b",
            "%2e%2e",
            "...",
            "ünï ⚔",
            " ",
            &"x".repeat(256),
            &"⚔".repeat(256),
        ] {
            assert_eq!(UserId::parse(good).unwrap().as_str(), good);
        }
        for (bad, why) in [
            ("", InvalidId::Empty),
            (".", InvalidId::DotSegment),
            ("..", InvalidId::DotSegment),
            (&"⚔".repeat(257), InvalidId::TooLong),
            ("a\0b", InvalidId::ControlCharacter),
            ("a\nb", InvalidId::ControlCharacter),
            ("\u{7f}", InvalidId::ControlCharacter),
            ("\u{85}", InvalidId::ControlCharacter),
        ] {
            assert_eq!(UserId::parse(bad), Err(why), "{bad:?}");
        }
    }
}
