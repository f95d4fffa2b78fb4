//! The words and the rules of the service: ids, metadata, observations, and what an observation changes.
//!
//! Pure: no I/O, no database, no HTTP. Everything else depends on this module, and it on nothing of the crate.

mod ids;
mod metadata;
mod observation;
mod presence;
mod restore;
mod rules;
mod snapshot;
mod time;

pub use ids::{Claimant, InvalidId, PeerId, RoleName, RoomId, UserId};
pub use metadata::{MAX_JSON_DEPTH, Metadata, NotRepresentable};
pub use observation::{KeyTooLarge, Label, Observation, PeerKey, Report, Source, Tracks};
pub use presence::{ConnectedPeer, End, EndKind, Presence, PresenceJson, Status, UserPresence};
pub use restore::{
    ChangeId, Claim, Requester, RestoreJob, RestoreMark, RestoreOutcome, ResumeRecord, WhyNot,
};
pub use rules::{Effect, PeerState, snapshot_id};
pub use snapshot::{ResumeJson, SavedState, Snapshot, SnapshotJson};
pub use time::{Clock, Timestamp};
