//! The replays: 100ms sends again what it could not deliver.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::patience::{Patience, patiently};
use super::progress::Progress;
use crate::domain::{ProblemCode, ReplayPiece};
use crate::hms::{Replay, ReplayState};
use crate::service::Service;

/// How often 100ms is asked how far a replay is.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// No replay takes longer: 50,000 events at 10 a second.
const LONGEST_REPLAY: Duration = Duration::from_hours(2);
/// The most events of one replay. Where there were as many, there may be more.
const MAX_EVENTS: u64 = 50_000;

impl Service {
    /// Has 100ms send again what failed in a gap, piece by piece.
    ///
    /// # Errors
    /// The problem of the first piece that failed.
    pub(super) async fn replay_all(&self, progress: &Progress<'_>) -> Result<(), ProblemCode> {
        let (mut patience, mut failure) = (Patience::new(), None);
        let mut pieces = progress.reconciliation().pieces();
        pieces.reverse();
        while let Some(piece) = pieces.pop() {
            match self.replay(piece, &mut patience, progress).await {
                Ok(state) if state.total >= MAX_EVENTS => {
                    pieces.extend(piece.halves().into_iter().flatten().rev());
                }
                Ok(_) => {}
                Err(ProblemCode::UpstreamUnauthorized) => {
                    tracing::warn!(
                        "100ms refused to replay webhooks: the credentials lack the permission for webhook analytics"
                    );
                    return Err(ProblemCode::UpstreamUnauthorized);
                }
                Err(code) => failure = failure.or(Some(code)),
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Has 100ms replay a piece, unless that was begun before, and follows it to its end.
    async fn replay(
        &self,
        piece: ReplayPiece,
        patience: &mut Patience,
        progress: &Progress<'_>,
    ) -> Result<ReplayState, ProblemCode> {
        let replay = if let Some(begun) = progress.begun_replay(piece) {
            begun
        } else {
            let replay = patiently!(patience, self.hms.replay(piece.start, piece.end))?;
            let begun = Some(&replay);
            patiently!(patience, progress.note_replay(piece, begun))?;
            replay
        };
        let followed = self.follow(&replay, patience, progress).await;
        if followed == Err(ProblemCode::UpstreamBadResponse) {
            // 100ms gave it up, or does not know it any more.
            patiently!(patience, progress.note_replay(piece, None))?;
        }
        followed
    }

    async fn follow(
        &self,
        replay: &Replay,
        patience: &mut Patience,
        progress: &Progress<'_>,
    ) -> Result<ReplayState, ProblemCode> {
        let deadline = Instant::now() + LONGEST_REPLAY;
        let before = progress.reconciled();
        loop {
            let state = patiently!(patience, self.hms.replay_state(replay))?;
            progress.note(|reconciled| {
                reconciled.replayed = before.replayed + state.completed;
                reconciled.not_replayed = before.not_replayed + state.failed;
            });
            progress.store().await;
            if !state.is_running {
                return state
                    .is_complete
                    .then_some(state)
                    .ok_or(ProblemCode::UpstreamBadResponse);
            }
            if Instant::now() >= deadline {
                return Err(ProblemCode::UpstreamTimeout);
            }
            sleep(POLL_INTERVAL).await;
        }
    }
}
