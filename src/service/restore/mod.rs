//! Restores and claims.
//!
//! By request: a saved state is sent to a peer at 100ms, or claimed by one of many callers, or
//! both. `automatic` does the same for a peer that has just joined, and `worker` runs it in the
//! background. Which states are restored automatically is decided by [`crate::domain`].

mod automatic;
mod worker;

use uuid::Uuid;

use super::Service;
use super::metrics::{CLAIMS, Cause, ClaimOutcome, DROP_TO_RESUME_SECONDS, RESTORES};
use super::snapshot::key_of;
use crate::domain::{
    Claim, Claimant, Observation, PeerId, PeerKey, Report, Requester, RestoreMark, RestoreOutcome,
    ResumeRecord, RoomId, SavedState, SkipReason, Source, Timestamp, Unstorable, UserId,
};
use crate::hms::{Fetched, HmsError, PeerUpdate};
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
        let Some(state) = self.find_and_save(&request, target.as_ref()).await? else {
            return nothing_saved(target.as_ref());
        };
        let record = ResumeRecord {
            id: Uuid::now_v7(),
            at: self.now(),
            user_id: request.user_id.clone(),
            state: Some(state.clone()),
            to: target.as_ref().map(|target| target.key.clone()),
            requester: request.requester.clone(),
        };
        let claim = match &request.claimed_by {
            Some(claimant) => Some(self.claim(&state, &record, claimant).await?),
            None => None,
        };
        let skipped = match &target {
            Some(target) => self.restore_to(target, &state, record, &request).await?,
            None => None,
        };
        Ok(RestoreResult {
            state: Some(state),
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
            has_metadata: self.has_metadata(&peer),
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

    /// The state to send, as it was before the target was fetched; saves the target.
    ///
    /// With `overwrite`, the target's own state does not count, unless a state arrived at it
    /// before: then the player has set what it has now. That the state was sent is no proof.
    async fn find_and_save(
        &self,
        request: &RestoreRequest,
        target: Option<&Target>,
    ) -> Result<Option<SavedState>, StoreError> {
        let of_any_peer = ResumeQuery {
            room_id: request.room_id.clone(),
            ..ResumeQuery::of_user(&request.user_id)
        };
        let state = self.resume(of_any_peer.clone()).await?;
        let Some(target) = target else {
            return Ok(state);
        };
        if let Some(observation) = target.observation.clone() {
            self.store.save(observation).await?;
        }
        if !request.overwrite {
            return Ok(state);
        }
        if self.store.was_restored_to(&target.key).await? {
            return self.resume(of_any_peer).await;
        }
        let of_other_peers = ResumeQuery {
            exclude_peer_id: Some(target.key.peer_id.clone()),
            ..of_any_peer
        };
        Ok(self.resume(of_other_peers).await?.or(state))
    }

    async fn claim(
        &self,
        state: &SavedState,
        record: &ResumeRecord,
        claimant: &Claimant,
    ) -> Result<Claim, RestoreError> {
        let claim = self.store.claim(record.clone(), claimant.clone()).await?;
        let claim = claim.ok_or(RestoreError::NothingSaved)?;
        if claim.claimed_by != *claimant {
            CLAIMS.count(&ClaimOutcome::AlreadyClaimed);
            return Err(RestoreError::AlreadyClaimed(claim));
        }
        if claim.claimed_at != record.at {
            CLAIMS.count(&ClaimOutcome::Again);
            return Ok(claim);
        }
        CLAIMS.count(&ClaimOutcome::Claimed);
        // With a peer to restore to, the player has the state only once it is restored.
        if record.to.is_none() {
            record_time_from_drop(state, record.at);
        }
        Ok(claim)
    }

    /// Sends the state to the target, unless there is a reason to skip it, and records what
    /// happened: before the state is sent, and again with the outcome.
    async fn restore_to(
        &self,
        target: &Target,
        state: &SavedState,
        record: ResumeRecord,
        request: &RestoreRequest,
    ) -> Result<Option<SkipReason>, RestoreError> {
        let skipped =
            SkipReason::of_request(state, &target.key, target.has_metadata, request.overwrite);
        if let Some(reason) = skipped {
            if reason == SkipReason::SamePeer {
                self.store.find_sent_restores(state).await?;
            }
            self.record(record, RestoreOutcome::Skipped(reason)).await?;
            return Ok(skipped);
        }
        self.store
            .record_restore(record.clone(), RestoreOutcome::Sending)
            .await?;
        let sent = self
            .send(&target.key, target.observed_at, state, request.with_role)
            .await;
        let outcome = match &sent {
            Ok(()) => RestoreOutcome::Restored,
            Err(RestoreError::Upstream(error)) => RestoreOutcome::Failed(error.code()),
            Err(_) => return sent.map(|()| None),
        };
        if sent.is_ok() {
            record_time_from_drop(state, record.at);
        }
        self.record(record, outcome).await?;
        sent.map(|()| None)
    }

    /// Sends the state to a peer that was observed and saved just before.
    ///
    /// # Errors
    /// [`RestoreError::Upstream`], after which the peer may or may not have the state. The mark on
    /// the peer says so to whoever observes it next. Where 100ms certainly did not take the state,
    /// the mark is taken back.
    async fn send(
        &self,
        to: &PeerKey,
        observed_at: Timestamp,
        state: &SavedState,
        with_role: bool,
    ) -> Result<(), RestoreError> {
        let mark = RestoreMark::new(state, self.now(), observed_at);
        let restoring = Report::Restoring {
            key: to.clone(),
            mark,
        };
        self.store.report(restoring).await?;
        let update = update_with(state, with_role);
        let updated = self
            .hms
            .update_peer(&to.room_id, &to.peer_id, &update)
            .await;
        let Fetched { sent_at, value } = match updated {
            Ok(fetched) => fetched,
            Err(error) => {
                if error.is_refusal() {
                    let key = to.clone();
                    self.store.report(Report::NotRestored { key, mark }).await?;
                }
                return Err(error.into());
            }
        };
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
        Ok(())
    }

    async fn record(
        &self,
        record: ResumeRecord,
        outcome: RestoreOutcome,
    ) -> Result<(), StoreError> {
        let cause = match record.requester {
            Requester::Join => Cause::Join,
            Requester::Key(_) => Cause::Request,
        };
        RESTORES.count(&(cause, outcome));
        self.store.record_restore(record, outcome).await
    }
}

/// The result where the user has no saved state.
fn nothing_saved(target: Option<&Target>) -> Result<RestoreResult, RestoreError> {
    if target.is_none() {
        return Err(RestoreError::NothingSaved);
    }
    let reason = SkipReason::NothingSaved;
    RESTORES.count(&(Cause::Request, RestoreOutcome::Skipped(reason)));
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

/// Records in a metric how long the player was without their state.
fn record_time_from_drop(state: &SavedState, at: Timestamp) {
    if let Some(dropped_at) = state.dropped_at() {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a histogram needs no exact times"
        )]
        DROP_TO_RESUME_SECONDS
            .of(&())
            .record(at.seconds_since(dropped_at) as f64);
    }
}
