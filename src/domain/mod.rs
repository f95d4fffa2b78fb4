//! The terms and the rules of the service: ids, metadata and observations, how a report changes the
//! state of its peer, and when a saved state is restored.
//!
//! Pure code: no I/O, no clock of its own, and no JSON shapes of the API. Everything else depends
//! on this module, and it depends on nothing else of the crate.

mod forward;
mod ids;
mod label;
mod metadata;
mod named;
mod observation;
mod own_event;
mod partition;
mod peer_key;
mod peer_state;
mod presence;
mod problem;
mod reconciliation;
mod report;
mod restore;
mod rules;
mod snapshot;
mod storage_policy;
mod time;
mod timeline;
mod tracks;
mod watch;

pub use forward::{
    Forward, ForwardHeader, ForwardOutcome, ForwardRecord, ForwardResult, ForwardState, NewForward,
};
pub use ids::{Claimant, InvalidId, PeerId, RoleName, RoomId, SessionId, UserId};
pub use label::Label;
pub use metadata::{MAX_JSON_DEPTH, Metadata, NotRepresentable};
pub(crate) use named::named;
pub use observation::{Observation, Source};
pub use own_event::{
    DroppedPeer, EventPolicy, OwnEvent, OwnEventType, ResumeEntry, WrittenPeer, is_new_state,
};
pub use partition::PartitionPeriod;
pub use peer_key::{KeyTooLarge, PeerKey};
pub use peer_state::{Change, CurrentRow, Effect, PeerState};
pub use presence::{ConnectedPeer, End, EndKind, PeerPresence, Presence, Status, UserPresence};
pub use problem::ProblemCode;
pub use reconciliation::{
    Reconciled, Reconciliation, ReconciliationReport, ReconciliationState, ReplayPiece,
};
pub use report::{EventKind, EventReport, Report, WatchRequest};
pub use restore::{
    ChangeId, Claim, Decision, GiveUpReason, NewPeer, Requester, RestoreJob, RestoreMark,
    RestoreOutcome, RestorePolicy, RestoreScope, RestoreWhen, ResumeRecord, SkipReason,
};
pub use rules::{LeaveMetadata, MIN_KEEP_PEERS, Rules};
pub use snapshot::{SavedState, Snapshot, snapshot_id};
pub use storage_policy::{StoragePolicy, Unstorable};
pub use time::{Clock, Timestamp};
pub use timeline::{MAX_REPEATS, Row, RowChanges};
pub use tracks::Tracks;
pub use watch::{
    FetchJob, InvalidInterval, LastLook, Look, LookOutcome, Watch, WatchInterval, WatchState,
};
