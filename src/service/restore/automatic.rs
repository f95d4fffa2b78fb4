//! Automatic restores: one attempt at a job that a join has queued.
//!
//! [`RestorePolicy::decide`] decides what to do. This module only fetches what the decision needs,
//! and does what it says.

use super::RestoreError;
use crate::domain::{
    Decision, NewPeer, PeerKey, Requester, RestoreJob, RestoreOutcome, RestorePolicy, RestoreWhen,
    ResumeRecord, SavedState, Source, Timestamp,
};
use crate::hms::{Fetched, HmsError, UpstreamPeer};
use crate::service::Service;
use crate::store::{ResumeQuery, StoreError};

/// How often 100ms is asked whether a ghost has a state that was never observed.
const MAX_GHOST_CHECKS: i32 = 5;

/// How far a job has come.
#[derive(Debug)]
pub(super) enum Progress {
    /// It is done, whatever the outcome.
    Done,
    /// It needs another attempt.
    Waiting(WaitReason),
}

/// What a job waits for.
#[derive(Debug)]
pub(super) enum WaitReason {
    /// A state, or the drop of the state's peer, has not been reported yet.
    State,
    /// The new peer cannot be fetched yet.
    Peer(Failure),
    /// 100ms fails.
    Upstream(Failure),
}

/// A state that could not be sent yet, and why.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) state: Box<SavedState>,
    pub(super) error: HmsError,
}

/// The new peer, as it was just fetched.
struct FetchedPeer {
    observed_at: Timestamp,
    has_metadata: bool,
}

impl Service {
    /// Attempts to restore the user's state to the job's peer.
    ///
    /// May run twice, even at the same time: at worst the same value is sent again.
    ///
    /// # Errors
    /// [`RestoreError::Store`].
    pub(super) async fn attempt_restore(
        &self,
        job: &RestoreJob,
        policy: RestorePolicy,
    ) -> Result<Progress, RestoreError> {
        let (state, decision) = self.decide(job, policy, false).await?;
        let known = match decision {
            Decision::Restore | Decision::Skip(_) => state,
            Decision::AlreadyThere | Decision::GiveUp => return Ok(Progress::Done),
            Decision::Wait if may_check_ghosts(job, policy) => None,
            Decision::Wait => return Ok(Progress::Waiting(WaitReason::State)),
        };
        let fetched = match self.fetch_and_save(job, policy).await {
            Ok(fetched) => fetched,
            Err(RestoreError::Upstream(error)) => return Ok(waiting(error, known)),
            Err(error) => return Err(error),
        };
        let (state, decision) = self.decide(job, policy, fetched.has_metadata).await?;
        let Some(state) = state else {
            return Ok(Progress::Waiting(WaitReason::State));
        };
        match decision {
            Decision::Wait => return Ok(Progress::Waiting(WaitReason::State)),
            Decision::GiveUp => {}
            Decision::AlreadyThere => self.record_earlier_attempt(job, &state, known).await?,
            Decision::Skip(reason) => {
                let record = automatic_record(job, state, self.now());
                self.record(&record, RestoreOutcome::Skipped(reason))
                    .await?;
            }
            Decision::Restore => {
                return self
                    .send_automatically(job, state, fetched.observed_at)
                    .await;
            }
        }
        Ok(Progress::Done)
    }

    async fn send_automatically(
        &self,
        job: &RestoreJob,
        state: SavedState,
        observed_at: Timestamp,
    ) -> Result<Progress, RestoreError> {
        let record = automatic_record(job, state, self.now());
        match self.send(&job.key, observed_at, &record, false).await {
            Ok(()) => Ok(Progress::Done),
            Err(RestoreError::Upstream(error)) => Ok(waiting(error, Some(record.state))),
            Err(error) => Err(error),
        }
    }

    /// Records that a job is given up.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) async fn record_failure(
        &self,
        job: &RestoreJob,
        failure: Failure,
    ) -> Result<(), StoreError> {
        let record = automatic_record(job, *failure.state, self.now());
        self.record(&record, RestoreOutcome::Failed(failure.error.code()))
            .await
    }

    /// The user's saved state, and what to do about the job's peer.
    async fn decide(
        &self,
        job: &RestoreJob,
        policy: RestorePolicy,
        has_metadata: bool,
    ) -> Result<(Option<SavedState>, Decision), StoreError> {
        let state = self.resume(ResumeQuery::of_user(&job.key.user_id)).await?;
        let new_peer = NewPeer {
            key: &job.key,
            has_metadata,
        };
        let decision = policy.decide(state.as_ref(), new_peer, self.now());
        Ok((state, decision))
    }

    /// Fetches the new peer and saves it.
    ///
    /// Where any state is restored, the user's other peers in the room too: a ghost among them may
    /// have changed since it was last observed. Where only drops are restored, not: an observation
    /// of the ghost would say that it is connected after all.
    async fn fetch_and_save(
        &self,
        job: &RestoreJob,
        policy: RestorePolicy,
    ) -> Result<FetchedPeer, RestoreError> {
        let PeerKey {
            user_id,
            room_id,
            peer_id,
        } = &job.key;
        let (source, fetched) = match policy.when {
            RestoreWhen::Always => {
                let fetched = self.hms.peers(room_id, Some(user_id), None).await?;
                (Source::Room, fetched)
            }
            RestoreWhen::Dropped => {
                let Fetched { sent_at, value } = self.hms.peer(room_id, peer_id).await?;
                let value = vec![value];
                (Source::Peer, Fetched { sent_at, value })
            }
        };
        let observed_at = fetched.sent_at;
        let has_metadata = has_metadata(&fetched.value, &job.key);
        self.save_peers(room_id, source, fetched, |_, _| {}).await?;
        Ok(FetchedPeer {
            observed_at,
            has_metadata: has_metadata.ok_or(HmsError::PeerNotFound)?,
        })
    }

    /// The new peer has a state of its own. Where it is the one that was to be restored, an earlier
    /// attempt has sent it and did not live to record it.
    async fn record_earlier_attempt(
        &self,
        job: &RestoreJob,
        there: &SavedState,
        known: Option<SavedState>,
    ) -> Result<(), StoreError> {
        match known {
            Some(sent) if sent.change == there.change => {
                let record = automatic_record(job, sent, self.now());
                self.record(&record, RestoreOutcome::Restored).await
            }
            _ => Ok(()),
        }
    }
}

fn automatic_record(job: &RestoreJob, state: SavedState, now: Timestamp) -> ResumeRecord {
    ResumeRecord {
        at: now,
        state,
        to: Some(job.key.clone()),
        requester: Requester::Join,
    }
}

/// Whether to ask 100ms for a state that was never observed.
fn may_check_ghosts(job: &RestoreJob, policy: RestorePolicy) -> bool {
    policy.when == RestoreWhen::Always && job.attempts <= MAX_GHOST_CHECKS
}

/// Whether the peer has metadata; none where it is not among these peers.
fn has_metadata(peers: &[UpstreamPeer], key: &PeerKey) -> Option<bool> {
    let peer = peers
        .iter()
        .find(|peer| peer.peer_id == key.peer_id.as_str() && peer.user_id == key.user_id.as_str());
    peer.map(UpstreamPeer::has_metadata)
}

fn waiting(error: HmsError, state: Option<SavedState>) -> Progress {
    let Some(state) = state else {
        return Progress::Waiting(WaitReason::State);
    };
    let failure = Failure {
        state: Box::new(state),
        error,
    };
    Progress::Waiting(match failure.error {
        HmsError::PeerNotFound | HmsError::RoomNotActive => WaitReason::Peer(failure),
        _ => WaitReason::Upstream(failure),
    })
}
