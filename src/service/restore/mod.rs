//! Restores and claims: a saved state goes back to a peer at 100ms, or is taken by one of many who want it.

mod automatic;
mod worker;

use super::{Service, Unstorable, key_of};
use crate::domain::{
    Claim, Claimant, Observation, PeerId, PeerKey, Report, Requester, RestoreMark, RestoreOutcome,
    ResumeRecord, RoomId, SavedState, SkipReason, Source, Timestamp, UserId,
};
use crate::hms::{Fetched, HmsError, PeerUpdate, UpstreamPeer};
use crate::metrics::{CLAIMS, DROP_TO_RESUME_SECONDS, RESTORES};
use crate::store::{ResumeQuery, StoreError};
pub use automatic::{Progress, RestorePolicy, Waiting, When};
pub use worker::RestoreWorker;

/// What is to be done with a user's saved state.
#[derive(Debug, Clone)]
pub struct RestoreRequest {
    /// Whose state.
    pub user_id: UserId,
    /// Only a state of this room; and where `peer_id` is.
    pub room_id: Option<RoomId>,
    /// Send the state to this peer, if it has none.
    pub peer_id: Option<PeerId>,
    /// Take the state, so that nobody else can.
    pub claimed_by: Option<Claimant>,
    /// Send it even if the peer has metadata, of which no account is taken.
    pub overwrite: bool,
    /// Send the role too.
    pub with_role: bool,
    /// Who asks.
    pub requester: Requester,
}

/// What came of a request.
#[derive(Debug)]
pub struct RestoreResult {
    /// The state, as it was found; none where nothing is saved.
    pub state: Option<SavedState>,
    /// Why it was not sent to the peer; none where it was, or no peer was named.
    pub skipped: Option<SkipReason>,
    /// Whether it was sent to a peer.
    pub restored: bool,
    /// The claim, if one was asked for.
    pub claim: Option<Claim>,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// 100ms.
    #[error(transparent)]
    Upstream(#[from] HmsError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The peer belongs to somebody else, or to nobody.
    #[error("The peer is not this user's.")]
    NotOfUser,
    /// The peer's ids cannot be kept.
    #[error(transparent)]
    Unstorable(#[from] Unstorable),
    /// Nobody knows in which room the peer is.
    #[error(
        "The peer was never seen and the user has no state, so `room_id` should say where the peer is."
    )]
    RoomUnknown,
    /// There is no state, and no peer to say of that it got none.
    #[error("No metadata is saved for this user.")]
    NothingSaved,
    /// Somebody else was first.
    #[error("The state was claimed by {} at {}.", .0.claimed_by, .0.claimed_at)]
    AlreadyClaimed(Claim),
}

/// The peer that a state may be sent to, as it was just seen.
struct Target {
    key: PeerKey,
    seen_at: Timestamp,
    has_metadata: bool,
    /// Unless its metadata cannot be kept.
    seen: Option<Observation>,
}

impl Service {
    /// Sends a user's saved state to a peer, or claims it, or both.
    ///
    /// Asking again is harmless: a peer that was restored is not restored again, and who has a claim has it.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub async fn restore(&self, request: RestoreRequest) -> Result<RestoreResult, RestoreError> {
        let target = match &request.peer_id {
            Some(peer_id) => Some(self.target(&request, peer_id).await?),
            None => None,
        };
        let found = self.state_for(&request, target.as_ref()).await?;
        if let Some(seen) = target.as_ref().and_then(|target| target.seen.clone()) {
            self.store.save(seen).await?;
        }
        let Some(state) = found else {
            let skipped = target
                .map(|_| SkipReason::NothingSaved)
                .ok_or(RestoreError::NothingSaved)?;
            count_restore(false, RestoreOutcome::Skipped(skipped));
            return Ok(RestoreResult {
                state: None,
                skipped: Some(skipped),
                restored: false,
                claim: None,
            });
        };
        let record = ResumeRecord {
            at: self.now(),
            state,
            to: target.as_ref().map(|target| target.key.clone()),
            requester: request.requester.clone(),
        };
        let claim = match request.claimed_by {
            Some(claimant) => Some(self.claim(&record, claimant).await?),
            None => None,
        };
        let skipped = match &target {
            None => None,
            Some(target) => {
                self.restore_to(target, &record, request.overwrite, request.with_role)
                    .await?
            }
        };
        let restored = target.is_some() && skipped.is_none();
        Ok(RestoreResult {
            state: Some(record.state),
            skipped,
            restored,
            claim,
        })
    }

    /// The peer as it is now, if it is the user's.
    async fn target(
        &self,
        request: &RestoreRequest,
        peer_id: &PeerId,
    ) -> Result<Target, RestoreError> {
        let room_id = match &request.room_id {
            Some(room_id) => room_id.clone(),
            None => self.room_of(&request.user_id, peer_id).await?,
        };
        let Fetched { sent_at, value } = self.hms.peer(&room_id, peer_id).await?;
        if value.user_id != request.user_id.as_str() {
            return Err(RestoreError::NotOfUser);
        }
        self.target_of(&room_id, sent_at, value)
    }

    fn target_of(
        &self,
        room: &RoomId,
        sent_at: Timestamp,
        peer: UpstreamPeer,
    ) -> Result<Target, RestoreError> {
        let has_metadata = peer.has_metadata();
        let key = key_of(room, &peer)?;
        let seen = self.observation(room, sent_at, Source::Peer, peer).ok();
        Ok(Target {
            key,
            seen_at: sent_at,
            has_metadata,
            seen,
        })
    }

    /// Where the peer is: where it was seen, else where the user's state is from.
    async fn room_of(&self, user_id: &UserId, peer_id: &PeerId) -> Result<RoomId, RestoreError> {
        if let Some(room_id) = self.store.room_of(user_id, peer_id).await? {
            return Ok(room_id);
        }
        let query = ResumeQuery {
            user_id: user_id.clone(),
            room_id: None,
            exclude_peer_id: None,
        };
        let state = self.resume(query).await?.ok_or(RestoreError::RoomUnknown)?;
        Ok(state.key.room_id)
    }

    /// The state to send. To overwrite means that what the peer has does not count, unless a state was sent to it before:
    /// what it has since is the player's.
    async fn state_for(
        &self,
        request: &RestoreRequest,
        target: Option<&Target>,
    ) -> Result<Option<SavedState>, RestoreError> {
        let everywhere = ResumeQuery {
            user_id: request.user_id.clone(),
            room_id: request.room_id.clone(),
            exclude_peer_id: None,
        };
        if let Some(target) = target.filter(|_| request.overwrite)
            && !self.store.was_restored_to(&target.key).await?
        {
            let elsewhere = ResumeQuery {
                exclude_peer_id: Some(target.key.peer_id.clone()),
                ..everywhere.clone()
            };
            if let Some(state) = self.resume(elsewhere).await? {
                return Ok(Some(state));
            }
        }
        Ok(self.resume(everywhere).await?)
    }

    async fn claim(
        &self,
        record: &ResumeRecord,
        claimant: Claimant,
    ) -> Result<Claim, RestoreError> {
        let claim = self.store.claim(record.clone(), claimant.clone()).await?;
        let outcome = match &claim {
            claim if claim.claimed_by != claimant => "already-claimed",
            claim if claim.claimed_at != record.at => "again",
            _ => "claimed",
        };
        metrics::counter!(CLAIMS, "outcome" => outcome).increment(1);
        match outcome {
            "already-claimed" => return Err(RestoreError::AlreadyClaimed(claim)),
            // With a peer to restore to, that is when the player has it.
            "claimed" if record.to.is_none() => time_from_drop(record),
            _ => {}
        }
        Ok(claim)
    }

    /// Sends the state to the target, or says why not, and records that.
    async fn restore_to(
        &self,
        target: &Target,
        record: &ResumeRecord,
        overwrite: bool,
        with_role: bool,
    ) -> Result<Option<SkipReason>, RestoreError> {
        let skipped = if record.state.key == target.key {
            SkipReason::SamePeer
        } else if target.has_metadata && !overwrite {
            SkipReason::AlreadyHasMetadata
        } else {
            let sent = self
                .send(&target.key, target.seen_at, record, with_role)
                .await;
            if let Err(RestoreError::Upstream(error)) = &sent {
                self.record(record, RestoreOutcome::Failed(error.code()))
                    .await?;
            }
            return sent.map(|()| None);
        };
        self.record(record, RestoreOutcome::Skipped(skipped))
            .await?;
        Ok(Some(skipped))
    }

    /// Sends the record's state to a peer that was just seen and kept, and records it.
    ///
    /// # Errors
    /// [`RestoreError::Upstream`], after which the peer may or may not have the state. Whoever sees it next will know.
    pub(super) async fn send(
        &self,
        to: &PeerKey,
        seen_at: Timestamp,
        record: &ResumeRecord,
        with_role: bool,
    ) -> Result<(), RestoreError> {
        let state = &record.state;
        let mark = RestoreMark::new(state, self.now(), seen_at);
        self.store
            .report(Report::Restoring {
                key: to.clone(),
                observed_at: seen_at,
                mark,
            })
            .await?;
        let update = PeerUpdate {
            metadata: state.metadata.raw().map(ToOwned::to_owned),
            role: state
                .role
                .as_ref()
                .filter(|_| with_role)
                .map(|role| role.as_str().to_owned()),
            name: None,
        };
        let updated = self
            .hms
            .update_peer(&to.room_id, &to.peer_id, &update)
            .await;
        let answered_at = self.now();
        match updated {
            Ok(Fetched { sent_at, value }) => {
                // Later than the sight before it, whatever the clock has done.
                let sent_at = sent_at.max(mark.at);
                if let Ok(seen) = self.observation(&to.room_id, sent_at, Source::Peer, value)
                    && seen.key == *to
                {
                    self.store
                        .report(Report::Restored {
                            observation: seen,
                            valid_until: answered_at,
                        })
                        .await?;
                }
                time_from_drop(record);
                Ok(self.record(record, RestoreOutcome::Restored).await?)
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn record(
        &self,
        record: &ResumeRecord,
        outcome: RestoreOutcome,
    ) -> Result<(), StoreError> {
        count_restore(record.requester == Requester::Join, outcome);
        self.store.record_restore(record.clone(), outcome).await
    }
}

fn count_restore(automatic: bool, outcome: RestoreOutcome) {
    let automatic = if automatic { "true" } else { "false" };
    metrics::counter!(RESTORES, "automatic" => automatic, "outcome" => outcome.as_str())
        .increment(1);
}

/// How long a player was without their state.
fn time_from_drop(record: &ResumeRecord) {
    if let Some(dropped_at) = record.state.dropped_at() {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a histogram needs no exact times"
        )]
        metrics::histogram!(DROP_TO_RESUME_SECONDS)
            .record(record.at.seconds_since(dropped_at) as f64);
    }
}
