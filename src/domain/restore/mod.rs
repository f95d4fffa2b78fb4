//! Restores: when a saved state is sent to a new peer, how the peer is marked, and what is
//! recorded.
//!
//! Sending is up to `service`, and storing to `store`.

mod mark;
mod policy;
mod record;

pub use mark::{ChangeId, RestoreMark};
pub use policy::{Decision, NewPeer, RestorePolicy, RestoreScope, RestoreWhen};
pub use record::{
    Claim, GiveUpReason, Requester, RestoreJob, RestoreOutcome, ResumeRecord, SkipReason,
};
