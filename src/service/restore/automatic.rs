//! Restores that joins cause: what is to be done with one job, now.

use chrono::TimeDelta;

use super::RestoreError;
use crate::domain::{
    ChangeId, PeerKey, PeerPresence, Requester, RestoreJob, RestoreOutcome, ResumeRecord,
    SavedState, SkipReason, Source, Status, Timestamp,
};
use crate::hms::{Fetched, HmsError, UpstreamPeer};
use crate::service::Service;
use crate::store::{ResumeQuery, StoreError};

/// Which states are restored by themselves, and how long after the drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestorePolicy {
    /// Which.
    pub when: When,
    /// How long after the end of the peer whose state it is, or where nobody told of one, after it was last seen.
    pub window: TimeDelta,
}

/// Which states are restored by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Those of peers that dropped.
    Dropped,
    /// All.
    Always,
}

/// How far a job has come.
#[derive(Debug)]
pub enum Progress {
    /// To its end, whatever that was.
    Done,
    /// It is to be tried again, for as long as that makes sense.
    Waiting(Waiting),
}

/// What a job waits for.
#[derive(Debug)]
pub enum Waiting {
    /// That a state, or the drop of the peer whose state it is, becomes known: often the new peer joins first.
    State,
    /// That the new peer can be fetched: often its join is told first.
    Peer(HmsError, Box<SavedState>),
    /// That 100ms answers.
    Upstream(HmsError, Box<SavedState>),
}

/// Whether a state is to be restored.
enum Readiness {
    Ready(Box<SavedState>),
    NotYet,
    Never,
    /// The new peer has it, or another of its own.
    There(Box<SavedState>),
}

/// How often 100ms is asked whether a ghost has a state that nobody has seen yet.
const LOOKS: i32 = 5;

impl Service {
    /// Restores the user's state to the job's peer, if by now that is there, empty, and to have it.
    ///
    /// May run twice, also at once: the same value is sent again at worst.
    ///
    /// # Errors
    /// [`RestoreError::Store`].
    pub async fn run_restore_job(
        &self,
        job: &RestoreJob,
        policy: RestorePolicy,
    ) -> Result<Progress, RestoreError> {
        let known = match self.readiness(&job.key, policy).await? {
            Readiness::Never | Readiness::There(_) => return Ok(Progress::Done),
            Readiness::NotYet if policy.when == When::Dropped || job.attempts > LOOKS => {
                return Ok(Progress::Waiting(Waiting::State));
            }
            Readiness::NotYet => None,
            Readiness::Ready(state) => Some(state),
        };
        let fetched = match self.fetch_for(job, policy).await {
            Ok(fetched) => fetched,
            Err(error) => return Ok(Progress::Waiting(waiting(error, known))),
        };
        let (seen_at, new) = (fetched.sent_at, find(&fetched, &job.key));
        let source = if policy.when == When::Dropped {
            Source::Peer
        } else {
            Source::Room
        };
        self.keep(&job.key.room_id, source, fetched, |_, _| {})
            .await?;
        let Some(has_metadata) = new else {
            return Ok(Progress::Waiting(waiting(HmsError::PeerNotFound, known)));
        };
        match self.readiness(&job.key, policy).await? {
            Readiness::Never => Ok(Progress::Done),
            Readiness::NotYet => Ok(Progress::Waiting(Waiting::State)),
            Readiness::There(state) => self.found_there(job, &state, known).await,
            Readiness::Ready(state) if has_metadata => {
                let record = self.automatic(job, *state);
                self.record(
                    &record,
                    RestoreOutcome::Skipped(SkipReason::AlreadyHasMetadata),
                )
                .await?;
                Ok(Progress::Done)
            }
            Readiness::Ready(state) => {
                let record = self.automatic(job, *state);
                match self.send(&job.key, seen_at, &record, false).await {
                    Ok(()) => Ok(Progress::Done),
                    Err(RestoreError::Upstream(error)) => Ok(Progress::Waiting(waiting(
                        error,
                        Some(Box::new(record.state)),
                    ))),
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// The new peer; and where any state will do, the user's others in the room: a ghost among them may have changed since
    /// it was last seen. Where only a drop will do, a sight of the ghost would say that it is connected after all.
    async fn fetch_for(
        &self,
        job: &RestoreJob,
        policy: RestorePolicy,
    ) -> Result<Fetched<Vec<UpstreamPeer>>, HmsError> {
        let PeerKey {
            user_id,
            room_id,
            peer_id,
        } = &job.key;
        match policy.when {
            When::Always => self.hms.peers(room_id, Some(user_id), None).await,
            When::Dropped => {
                let Fetched { sent_at, value } = self.hms.peer(room_id, peer_id).await?;
                Ok(Fetched {
                    sent_at,
                    value: vec![value],
                })
            }
        }
    }

    /// The new peer has a state. It may be the one that an attempt has sent that did not live to record it.
    async fn found_there(
        &self,
        job: &RestoreJob,
        there: &SavedState,
        known: Option<Box<SavedState>>,
    ) -> Result<Progress, RestoreError> {
        if let Some(sent) =
            known.filter(|known| ChangeId::of_state(known) == ChangeId::of_state(there))
        {
            self.record(&self.automatic(job, *sent), RestoreOutcome::Restored)
                .await?;
        }
        Ok(Progress::Done)
    }

    /// Records that a job is given up.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn give_up_restore_job(
        &self,
        job: &RestoreJob,
        state: SavedState,
        why: &HmsError,
    ) -> Result<(), StoreError> {
        self.record(
            &self.automatic(job, state),
            RestoreOutcome::Failed(why.code()),
        )
        .await
    }

    fn automatic(&self, job: &RestoreJob, state: SavedState) -> ResumeRecord {
        ResumeRecord {
            at: self.now(),
            state,
            to: Some(job.key.clone()),
            requester: Requester::Join,
        }
    }

    async fn readiness(
        &self,
        new: &PeerKey,
        policy: RestorePolicy,
    ) -> Result<Readiness, RestoreError> {
        let query = ResumeQuery {
            user_id: new.user_id.clone(),
            room_id: None,
            exclude_peer_id: None,
        };
        Ok(match self.resume(query).await? {
            None => Readiness::NotYet,
            Some(state) if state.key == *new => Readiness::There(Box::new(state)),
            Some(state) if policy.when == When::Dropped && may_be_outdated(&state, new) => {
                Readiness::NotYet
            }
            Some(state) => policy.applies(state, self.now()),
        })
    }
}

/// Whether a peer of the user joined after the one whose state it is, and has not told its own yet: most likely it is the
/// ghost, whose leave is still to come. To restore the state before its would be wrong, which is worse than late.
fn may_be_outdated(state: &SavedState, new: &PeerKey) -> bool {
    state.presence.connected_peers.iter().any(|peer| {
        let is = |key: &PeerKey| (&peer.room_id, &peer.peer_id) == (&key.room_id, &key.peer_id);
        !is(new) && !is(&state.key) && peer.joined_at >= state.joined_at
    })
}

impl RestorePolicy {
    fn applies(self, state: SavedState, now: Timestamp) -> Readiness {
        let PeerPresence { status, since, .. } = state.presence.peer;
        let ended = !matches!(status, Status::Connected | Status::Unknown);
        let gone_at = since.filter(|_| ended).unwrap_or(state.last_observed_at);
        if now > gone_at.shifted(self.window) {
            return Readiness::Never;
        }
        match (self.when, status) {
            (When::Always, _) | (When::Dropped, Status::Dropped) => {
                Readiness::Ready(Box::new(state))
            }
            (When::Dropped, Status::Connected | Status::Unknown) => Readiness::NotYet,
            (When::Dropped, Status::Left | Status::Kicked | Status::Ended) => Readiness::Never,
        }
    }
}

/// Whether the peer is among those that were fetched, and if so, whether it has metadata.
fn find(fetched: &Fetched<Vec<UpstreamPeer>>, key: &PeerKey) -> Option<bool> {
    let is_it = |peer: &&UpstreamPeer| {
        peer.peer_id == key.peer_id.as_str() && peer.user_id == key.user_id.as_str()
    };
    fetched
        .value
        .iter()
        .find(is_it)
        .map(UpstreamPeer::has_metadata)
}

fn waiting(error: HmsError, state: Option<Box<SavedState>>) -> Waiting {
    match state {
        None => Waiting::State,
        Some(state) if matches!(error, HmsError::PeerNotFound | HmsError::RoomNotActive) => {
            Waiting::Peer(error, state)
        }
        Some(state) => Waiting::Upstream(error, state),
    }
}
