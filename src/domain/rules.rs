//! The settings of the ordering rules, and what they decide.

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
