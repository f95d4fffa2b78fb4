//! Restores and claims.
//!
//! By request: a saved state is sent to a peer at 100ms, or claimed by one of many callers, or
//! both. `automatic` does the same for a peer that has just joined, and `worker` runs it in the
//! background. Which states are restored automatically is decided by [`crate::domain`].

mod automatic;
mod worker;

use super::Service;
use super::snapshot::key_of;
use crate::domain::{
    Claim, Claimant, Observation, PeerId, PeerKey, Report, Requester, RestoreMark, RestoreOutcome,
    ResumeRecord, RoomId, SavedState, SkipReason, Source, Timestamp, Unstorable, UserId,
};
use crate::hms::{Fetched, HmsError, PeerUpdate};
use crate::metrics::{CLAIMS, DROP_TO_RESUME_SECONDS, RESTORES};
use crate::store::{ResumeQuery, StoreError};
pub use worker::RestoreWorker;

/// What to do with a user's saved state.
#[derive(Debug, Clone)]
pub struct RestoreRequest {
    /// The user.
    pub user_id: UserId,
    /// Only a state of this room; and the room of `peer_id`.
    pub room_id: Option<RoomId>,
    /// Send the state to this peer, if it has no metadata.
    pub peer_id: Option<PeerId>,
    /// Claim the state for this claimant.
    pub claimed_by: Option<Claimant>,
    /// Send the state even if the peer has metadata, and disregard that metadata.
    pub overwrite: bool,
    /// Send the role too.
    pub with_role: bool,
    /// Who asks.
    pub requester: Requester,
}

/// The result of a request.
#[derive(Debug)]
pub struct RestoreResult {
    /// The state as it was found; none where nothing is saved.
    pub state: Option<SavedState>,
    /// Why the state was not sent; none where it was, or where the request named no peer.
    pub skipped: Option<SkipReason>,
    /// Whether the state was sent to a peer.
    pub restored: bool,
    /// The claim, if the request asked for one.
    pub claim: Option<Claim>,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// 100ms failed.
    #[error(transparent)]
    Upstream(#[from] HmsError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The peer belongs to another user, or to none.
    #[error("The peer does not belong to this user.")]
    NotOfUser,
    /// The peer has ids that cannot be stored.
    #[error(transparent)]
    Unstorable(#[from] Unstorable),
    /// The room of the peer is unknown.
    #[error("The room of the peer is unknown: name it in `room_id`.")]
    RoomUnknown,
    /// There is no state, and the request named no peer.
    #[error("No metadata is saved for this user.")]
    NothingSaved,
    /// Another claimant was first.
    #[error("The state was claimed by {} at {}.", .0.claimed_by, .0.claimed_at)]
    AlreadyClaimed(Claim),
}

/// The peer that a state may be sent to, as it was just fetched.
struct Target {
    key: PeerKey,
    observed_at: Timestamp,
    has_metadata: bool,
    /// None where its metadata cannot be stored.
    observation: Option<Observation>,
}

impl Service {
    /// Sends a user's saved state to a peer, or claims it, or both.
    ///
    /// The same request may be made again: a state is not restored twice to one peer, and a claim
    /// stays with its claimant.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub async fn restore(&self, request: RestoreRequest) -> Result<RestoreResult, RestoreError> {
        let target = match &request.peer_id {
            Some(peer_id) => Some(self.fetch_target(&request, peer_id).await?),
            None => None,
        };
        let state = self.state_for(&request, target.as_ref()).await?;
        if let Some(observation) = target
            .as_ref()
            .and_then(|target| target.observation.clone())
        {
            self.store.save(observation).await?;
        }
        let Some(state) = state else {
            return nothing_saved(target.as_ref());
        };
        let record = ResumeRecord {
            at: self.now(),
            state,
            to: target.as_ref().map(|target| target.key.clone()),
            requester: request.requester.clone(),
        };
        let claim = match &request.claimed_by {
            Some(claimant) => Some(self.claim(&record, claimant).await?),
            None => None,
        };
        let skipped = match &target {
            Some(target) => self.restore_to(target, &record, &request).await?,
            None => None,
        };
        Ok(RestoreResult {
            state: Some(record.state),
            skipped,
            restored: target.is_some() && skipped.is_none(),
            claim,
        })
    }

    /// The peer as it is at 100ms now, if it is the user's.
    async fn fetch_target(
        &self,
        request: &RestoreRequest,
        peer_id: &PeerId,
    ) -> Result<Target, RestoreError> {
        let room_id = match &request.room_id {
            Some(room_id) => room_id.clone(),
            None => self.room_of(&request.user_id, peer_id).await?,
        };
        let fetched = self.hms.peer(&room_id, peer_id).await?;
        let (observed_at, peer) = (fetched.sent_at, fetched.value);
        if peer.user_id != request.user_id.as_str() {
            return Err(RestoreError::NotOfUser);
        }
        Ok(Target {
            key: key_of(&room_id, &peer)?,
            observed_at,
            has_metadata: peer.has_metadata(),
            observation: self
                .observation(&room_id, observed_at, Source::Peer, peer)
                .ok(),
        })
    }

    /// The room where the peer was last observed, or else the room of the user's state.
    async fn room_of(&self, user_id: &UserId, peer_id: &PeerId) -> Result<RoomId, RestoreError> {
        if let Some(room_id) = self.store.room_of(user_id, peer_id).await? {
            return Ok(room_id);
        }
        let state = self.resume(ResumeQuery::of_user(user_id)).await?;
        Ok(state.ok_or(RestoreError::RoomUnknown)?.key.room_id)
    }

    /// The state to send. With `overwrite`, the peer's own state does not count, unless a state was
    /// sent to that peer before: then the player has set what it has now.
    async fn state_for(
        &self,
        request: &RestoreRequest,
        target: Option<&Target>,
    ) -> Result<Option<SavedState>, StoreError> {
        let of_any_peer = ResumeQuery {
            room_id: request.room_id.clone(),
            ..ResumeQuery::of_user(&request.user_id)
        };
        if request.overwrite
            && let Some(target) = target
            && !self.store.was_restored_to(&target.key).await?
        {
            let of_other_peers = ResumeQuery {
                exclude_peer_id: Some(target.key.peer_id.clone()),
                ..of_any_peer.clone()
            };
            if let Some(state) = self.resume(of_other_peers).await? {
                return Ok(Some(state));
            }
        }
        self.resume(of_any_peer).await
    }

    async fn claim(
        &self,
        record: &ResumeRecord,
        claimant: &Claimant,
    ) -> Result<Claim, RestoreError> {
        let claim = self.store.claim(record.clone(), claimant.clone()).await?;
        if claim.claimed_by != *claimant {
            count_claim("already-claimed");
            return Err(RestoreError::AlreadyClaimed(claim));
        }
        if claim.claimed_at != record.at {
            count_claim("again");
            return Ok(claim);
        }
        count_claim("claimed");
        // With a peer to restore to, the player has the state only once it is restored.
        if record.to.is_none() {
            record_time_from_drop(record);
        }
        Ok(claim)
    }

    /// Sends the state to the target, unless there is a reason to skip it, and records what
    /// happened.
    async fn restore_to(
        &self,
        target: &Target,
        record: &ResumeRecord,
        request: &RestoreRequest,
    ) -> Result<Option<SkipReason>, RestoreError> {
        let skipped = SkipReason::of_request(
            &record.state,
            &target.key,
            target.has_metadata,
            request.overwrite,
        );
        if let Some(reason) = skipped {
            self.record(record, RestoreOutcome::Skipped(reason)).await?;
            return Ok(skipped);
        }
        let sent = self
            .send(&target.key, target.observed_at, record, request.with_role)
            .await;
        if let Err(RestoreError::Upstream(error)) = &sent {
            self.record(record, RestoreOutcome::Failed(error.code()))
                .await?;
        }
        sent.map(|()| None)
    }

    /// Sends the record's state to a peer that was observed and saved just before, and records it.
    ///
    /// # Errors
    /// [`RestoreError::Upstream`], after which the peer may or may not have the state. The mark on
    /// the peer says so to whoever observes it next.
    async fn send(
        &self,
        to: &PeerKey,
        observed_at: Timestamp,
        record: &ResumeRecord,
        with_role: bool,
    ) -> Result<(), RestoreError> {
        let mark = RestoreMark::new(&record.state, self.now(), observed_at);
        let restoring = Report::Restoring {
            key: to.clone(),
            mark,
        };
        self.store.report(restoring).await?;
        let update = update_with(&record.state, with_role);
        let Fetched { sent_at, value } = self
            .hms
            .update_peer(&to.room_id, &to.peer_id, &update)
            .await?;
        let answered_at = self.now();
        // The clock may have gone back since the peer was observed.
        let sent_at = sent_at.max(mark.at);
        if let Ok(observation) = self.observation(&to.room_id, sent_at, Source::Peer, value)
            && observation.key == *to
        {
            let restored = Report::Restored {
                observation,
                answered_at,
            };
            self.store.report(restored).await?;
        }
        record_time_from_drop(record);
        Ok(self.record(record, RestoreOutcome::Restored).await?)
    }

    async fn record(
        &self,
        record: &ResumeRecord,
        outcome: RestoreOutcome,
    ) -> Result<(), StoreError> {
        count_restore(record.requester == Requester::Join, outcome);
        self.store.record_restore(record.clone(), outcome).await
    }
}

/// The result where the user has no saved state.
fn nothing_saved(target: Option<&Target>) -> Result<RestoreResult, RestoreError> {
    if target.is_none() {
        return Err(RestoreError::NothingSaved);
    }
    let reason = SkipReason::NothingSaved;
    count_restore(false, RestoreOutcome::Skipped(reason));
    Ok(RestoreResult {
        state: None,
        skipped: Some(reason),
        restored: false,
        claim: None,
    })
}

fn update_with(state: &SavedState, with_role: bool) -> PeerUpdate {
    let role = state.role.as_ref().filter(|_| with_role);
    PeerUpdate {
        metadata: state.metadata.raw().map(ToOwned::to_owned),
        role: role.map(|role| role.as_str().to_owned()),
        name: None,
    }
}

fn count_claim(outcome: &'static str) {
    metrics::counter!(CLAIMS, "outcome" => outcome).increment(1);
}

fn count_restore(automatic: bool, outcome: RestoreOutcome) {
    let automatic = if automatic { "true" } else { "false" };
    metrics::counter!(RESTORES, "automatic" => automatic, "outcome" => outcome.as_str())
        .increment(1);
}

/// Records in a metric how long the player was without their state.
fn record_time_from_drop(record: &ResumeRecord) {
    if let Some(dropped_at) = record.state.dropped_at() {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a histogram needs no exact times"
        )]
        metrics::histogram!(DROP_TO_RESUME_SECONDS)
            .record(record.at.seconds_since(dropped_at) as f64);
    }
}
