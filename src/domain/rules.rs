//! The settings of the ordering rules, and what they decide.

use std::time::Duration;

use chrono::TimeDelta;
use uuid::Uuid;

use super::{Metadata, Timestamp};

/// The settings of the ordering rules.
#[derive(Debug, Clone)]
pub struct Rules {
    /// For how long before its drop is reported a peer was only a ghost; zero turns the rule off.
    pub ghost: TimeDelta,
    /// What the metadata of a leave says.
    pub leave_metadata: LeaveMetadata,
    /// Metadata that counts as never set, beside the empty text.
    pub empty: Vec<Box<str>>,
}

/// What the metadata of a leave says. 100ms does not document whether it is the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaveMetadata {
    /// Empty, or what the join of the peer said: nothing. Else what the peer had when it left.
    Cautious,
    /// What the peer had when it left.
    Trust,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            ghost: TimeDelta::seconds(60),
            leave_metadata: LeaveMetadata::Cautious,
            empty: Vec::new(),
        }
    }
}

impl Rules {
    /// Whether the metadata counts as never set.
    pub fn is_empty(&self, metadata: &Metadata) -> bool {
        metadata.is_empty() || self.empty.iter().any(|empty| metadata.raw() == Some(empty))
    }

    /// Whether going from one to the other is a change. One kind of empty to another is none.
    pub(super) fn differ(&self, one: &Metadata, other: &Metadata) -> bool {
        one != other && !(self.is_empty(one) && self.is_empty(other))
    }

    /// Since when a peer whose drop was reported at this time was only a ghost.
    pub(super) fn ghost_since(&self, dropped_at: Timestamp) -> Timestamp {
        dropped_at.shifted(-self.ghost)
    }

    /// Whether the metadata of a leave says nothing, given what the peer's join said.
    pub(super) fn leave_metadata_is_ignored(
        &self,
        metadata: &Metadata,
        join: Option<Uuid>,
    ) -> bool {
        self.leave_metadata == LeaveMetadata::Cautious
            && (self.is_empty(metadata) || join == Some(metadata.digest()))
    }
}

/// The least time for which peers are kept that have ended: as long as 100ms replays events. Within
/// it, their events may still come.
pub const MIN_KEEP_PEERS: Duration = Duration::from_hours(30 * 24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_text_and_what_the_setting_names_byte_for_byte_are_empty() {
        let rules = Rules {
            empty: vec!["{}".into(), "[]".into()],
            ..Rules::default()
        };
        for (metadata, by_default, named) in [
            (Metadata::NONE, true, true),
            (Metadata::from_text(""), true, true),
            (Metadata::from_text("{}"), false, true),
            (Metadata::from_text("[]"), false, true),
            (Metadata::from_text("{ }"), false, false),
            (Metadata::from_text("a"), false, false),
        ] {
            let text = metadata.raw();
            assert_eq!(Rules::default().is_empty(&metadata), by_default, "{text:?}");
            assert_eq!(rules.is_empty(&metadata), named, "{text:?}");
        }
    }

    #[test]
    fn one_kind_of_empty_after_another_is_no_change() {
        let rules = Rules {
            empty: vec!["{}".into()],
            ..Rules::default()
        };
        for (one, other, differ) in [
            ("", "{}", false),
            ("{}", "", false),
            ("a", "a", false),
            ("a", "{}", true),
            ("{}", "a", true),
            ("a", "b", true),
        ] {
            let (one, other) = (Metadata::from_text(one), Metadata::from_text(other));
            assert_eq!(rules.differ(&one, &other), differ);
        }
    }
}
