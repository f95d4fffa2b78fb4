//! Automatic restores: one attempt at a job that a join has queued.
//!
//! [`RestorePolicy::decide`] decides what to do. This module only fetches what the decision needs,
//! and does what it says.

use super::RestoreError;
use crate::domain::{
    Decision, GiveUpReason, NewPeer, PeerKey, Report, Requester, RestoreJob, RestoreOutcome,
    RestorePolicy, RestoreScope, RestoreWhen, ResumeRecord, SavedState, SkipReason, Source,
    Timestamp,
};
use crate::hms::{Fetched, HmsError, UpstreamPeer};
use crate::service::Service;
use crate::store::{ResumeQuery, StoreError};

/// How often 100ms is asked whether a ghost has a state that was never observed. What 100ms does
/// not answer does not count.
const MAX_GHOST_CHECKS: i32 = 5;

/// What an attempt at a job came to.
#[derive(Debug)]
pub(super) struct Attempt {
    /// The state that it was about, if any is known.
    pub(super) state: Option<SavedState>,
    /// How far the job has come.
    pub(super) progress: Progress,
}

/// How far a job has come.
#[derive(Debug)]
pub(super) enum Progress {
    /// It is done.
    Done(RestoreOutcome),
    /// It waits for a report: of a state, or of a leave.
    Waiting(GiveUpReason),
    /// The new peer cannot be fetched yet, or no longer.
    NotFound(HmsError),
    /// 100ms fails.
    UpstreamFails(HmsError),
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
        job: &mut RestoreJob,
        policy: RestorePolicy,
    ) -> Result<Attempt, RestoreError> {
        let (state, decision) = self.decide(job, policy, None).await?;
        if decision != Decision::Fetch {
            return self.settle(state, decision).await;
        }
        let fetched = match self.fetch_and_save(job, policy).await {
            Ok(fetched) => fetched,
            Err(RestoreError::Upstream(error)) => {
                let progress = progress_after(job, error, self.now());
                return Ok(Attempt { state, progress });
            }
            Err(error) => return Err(error),
        };
        job.not_found_since = None;
        let has_metadata = Some(fetched.has_metadata);
        match self.decide(job, policy, has_metadata).await? {
            (Some(state), Decision::Restore) => {
                self.send_automatically(job, state, fetched.observed_at)
                    .await
            }
            (state, decision) => self.settle(state, decision).await,
        }
    }

    /// Does what was decided where nothing is to be sent.
    async fn settle(
        &self,
        state: Option<SavedState>,
        decision: Decision,
    ) -> Result<Attempt, RestoreError> {
        let skipped = |reason| Progress::Done(RestoreOutcome::Skipped(reason));
        let progress = match decision {
            Decision::Wait(reason) => Progress::Waiting(reason),
            Decision::GiveUp(reason) => Progress::Done(RestoreOutcome::GaveUp(reason)),
            Decision::Skip => skipped(SkipReason::AlreadyHasMetadata),
            Decision::AlreadyThere => match &state {
                Some(state) if self.was_sent(state).await? => {
                    Progress::Done(RestoreOutcome::Restored)
                }
                _ => skipped(SkipReason::SamePeer),
            },
            // Both are followed up by the caller.
            Decision::Fetch | Decision::Restore => Progress::Waiting(GiveUpReason::NothingSaved),
        };
        Ok(Attempt { state, progress })
    }

    /// Whether an earlier attempt has sent the state that the new peer has, and did not learn or
    /// did not live to record that it arrived.
    async fn was_sent(&self, there: &SavedState) -> Result<bool, StoreError> {
        self.store.find_sent_restores(there).await
    }

    async fn send_automatically(
        &self,
        job: &mut RestoreJob,
        state: SavedState,
        observed_at: Timestamp,
    ) -> Result<Attempt, RestoreError> {
        // Before sending, so that whatever becomes of this process there is a trace.
        let record = automatic_record(job, Some(state.clone()), self.now());
        self.store.begin_automatic_restore(record.clone()).await?;
        let progress = match self.send(&job.key, observed_at, &state, false).await {
            Ok(()) => {
                super::record_time_from_drop(&state, record.at);
                Progress::Done(RestoreOutcome::Restored)
            }
            Err(RestoreError::Upstream(error)) => progress_after(job, error, self.now()),
            Err(error) => return Err(error),
        };
        let state = Some(state);
        Ok(Attempt { state, progress })
    }

    /// The user's saved state, and what to do about the job's peer.
    async fn decide(
        &self,
        job: &RestoreJob,
        policy: RestorePolicy,
        has_metadata: Option<bool>,
    ) -> Result<(Option<SavedState>, Decision), StoreError> {
        let room_id = Some(&job.key.room_id).filter(|_| policy.scope == RestoreScope::Room);
        let query = ResumeQuery {
            room_id: room_id.cloned(),
            ..ResumeQuery::of_user(&job.key.user_id)
        };
        let (state, has_ended) =
            tokio::try_join!(self.resume(query), self.store.has_ended(&job.key))?;
        let new_peer = NewPeer {
            key: &job.key,
            has_metadata,
            has_ended,
            may_check_ghosts: job.ghost_checks < MAX_GHOST_CHECKS,
        };
        let decision = policy.decide(state.as_ref(), new_peer, self.now());
        Ok((state, decision))
    }

    /// Fetches the new peer and saves it. Where any state is restored, the user's other peers in
    /// the room too.
    async fn fetch_and_save(
        &self,
        job: &mut RestoreJob,
        policy: RestorePolicy,
    ) -> Result<FetchedPeer, RestoreError> {
        let PeerKey {
            user_id,
            room_id,
            peer_id,
        } = &job.key;
        let (source, fetched) = match policy.when {
            RestoreWhen::Always => {
                let Fetched { sent_at, mut value } =
                    self.hms.peers(room_id, Some(user_id), None).await?;
                job.ghost_checks += 1;
                let value = value.read_all().await?;
                (Source::Room, Fetched { sent_at, value })
            }
            RestoreWhen::Dropped => {
                let Fetched { sent_at, value } = self.hms.peer(room_id, peer_id).await?;
                let value = vec![value];
                (Source::Peer, Fetched { sent_at, value })
            }
        };
        let Fetched {
            sent_at: observed_at,
            value: peers,
        } = fetched;
        let has_metadata = find_peer(&peers, &job.key).map(|peer| self.has_metadata(peer));
        self.save_peers(room_id, (source, observed_at), peers, Report::Observed)
            .await?;
        Ok(FetchedPeer {
            observed_at,
            has_metadata: has_metadata.ok_or(HmsError::PeerNotFound)?,
        })
    }
}

/// The row of a job in the log.
pub(super) fn automatic_record(
    job: &RestoreJob,
    state: Option<SavedState>,
    now: Timestamp,
) -> ResumeRecord {
    ResumeRecord {
        id: job.record_id(),
        at: now,
        user_id: job.key.user_id.clone(),
        state,
        to: Some(job.key.clone()),
        requester: Requester::Join,
    }
}

/// The peer of this key among these peers.
fn find_peer<'a>(peers: &'a [UpstreamPeer], key: &PeerKey) -> Option<&'a UpstreamPeer> {
    peers
        .iter()
        .find(|peer| peer.peer_id == key.peer_id.as_str() && peer.user_id == key.user_id.as_str())
}

fn progress_after(job: &mut RestoreJob, error: HmsError, now: Timestamp) -> Progress {
    match error {
        HmsError::PeerNotFound | HmsError::RoomNotActive => {
            job.not_found_since.get_or_insert(now);
            Progress::NotFound(error)
        }
        error => Progress::UpstreamFails(error),
    }
}
