//! What a write starts from.

use crate::domain::PeerState;

/// A peer's state as the database holds it. Every write of the peer gives it
/// another version.
#[derive(Debug, Clone)]
pub(super) struct VersionedState {
    pub(super) state: PeerState,
    pub(super) version: i64,
}

/// The state of a peer that a write starts from; none of a peer that is new.
#[derive(Debug, Clone)]
pub(super) enum Baseline {
    /// It was read.
    Read(Option<VersionedState>),
    /// It is expected. Only the write itself shows whether that is right.
    Expected(Option<VersionedState>),
}
