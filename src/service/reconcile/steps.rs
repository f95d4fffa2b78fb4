//! The steps: webhooks are sent again, active rooms are looked at, and presence is corrected.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::backoff::Backoff;
use crate::domain::{ProblemCode, Reconciled, Reconciliation, Timestamp};
use crate::hms::HmsError;
use crate::service::watch::problem;
use crate::service::{Service, SnapshotError};
use crate::store::{Store, Unseen, UnseenRooms};

/// How often 100ms is asked how far a replay is.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// How often it is noted how far a reconciliation is, at most.
const NOTE_INTERVAL: Duration = Duration::from_secs(1);
/// For how long a request that fails is repeated.
const PATIENCE: Duration = Duration::from_mins(10);
/// The pauses in between.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(1),
    longest: Duration::from_mins(1),
    factor: 2,
    jitter: 0.25,
};
/// No replay takes longer: 50,000 events at 10 a second.
const LONGEST_REPLAY: Duration = Duration::from_hours(2);

/// Repeats a request until it succeeds. The result is the problem where another attempt would come to
/// the same, or too late. No function: the futures of closures that borrow cannot be sent to another
/// thread.
macro_rules! patiently {
    ($request:expr) => {{
        let mut attempts = Attempts::default();
        loop {
            match $request.await {
                Ok(answer) => break Ok(answer),
                Err(error) => {
                    if let Err(code) = attempts.pause_after(error).await {
                        break Err(code);
                    }
                }
            }
        }
    }};
}

impl Service {
    /// Has 100ms send the webhooks of a gap again, then looks at all active rooms, and corrects the
    /// presence of whom these looks did not see. What cannot be done is left out, and named.
    pub(super) async fn reconcile(&self, reconciliation: &Reconciliation) -> Reconciled {
        let mut progress = Progress {
            store: &self.store,
            reconciliation,
            reconciled: Reconciled::default(),
            noted_at: None,
        };
        progress.note().await;
        for (start, end) in reconciliation.pieces(self.now()) {
            if let Err(code) = self.replay(start, end, &mut progress).await {
                if code == ProblemCode::UpstreamUnauthorized {
                    tracing::warn!(
                        "100ms refused to replay webhooks: the credentials lack the permission for webhook analytics"
                    );
                }
                progress.failed(code);
                break;
            }
        }
        let looked_at = Instant::now();
        if let Err(code) = self.look_at_active_rooms(&mut progress).await {
            progress.failed(code);
        }
        if let Err(code) = self.correct_all_presence(looked_at, &mut progress).await {
            progress.failed(code);
        }
        progress.reconciled
    }

    /// Has 100ms send again what failed from the one time to the other, and follows that to its end.
    async fn replay(
        &self,
        start: Timestamp,
        end: Timestamp,
        progress: &mut Progress<'_>,
    ) -> Result<(), ProblemCode> {
        let Reconciled {
            replayed,
            not_replayed,
            ..
        } = progress.reconciled;
        let replay = patiently!(self.hms.replay(start, end))?;
        let deadline = Instant::now() + LONGEST_REPLAY;
        loop {
            let state = patiently!(async {
                sleep(POLL_INTERVAL).await;
                self.hms.replay_state(&replay).await
            })?;
            progress.reconciled.replayed = replayed + state.completed;
            progress.reconciled.not_replayed = not_replayed + state.failed;
            progress.note().await;
            if state.is_running && Instant::now() < deadline {
                continue;
            }
            return if state.is_complete {
                Ok(())
            } else {
                Err(ProblemCode::UpstreamBadResponse)
            };
        }
    }

    async fn look_at_active_rooms(&self, progress: &mut Progress<'_>) -> Result<(), ProblemCode> {
        let mut rooms = self.active_rooms();
        let (mut seen, mut failure) = (HashSet::new(), None);
        while let Some(page) = patiently!(rooms.next_page())? {
            for room_id in page.room_ids {
                if !seen.insert(room_id.clone()) {
                    continue;
                }
                match patiently!(self.look_at(&room_id)) {
                    Ok(result) => {
                        let reconciled = &mut progress.reconciled;
                        reconciled.rooms += 1;
                        reconciled.peers += u64::from(result.peers);
                        reconciled.changes += u64::from(result.changes);
                        progress.note().await;
                    }
                    // Over by now.
                    Err(ProblemCode::RoomNotActive) => {}
                    Err(code) => failure = Some(code),
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Corrects the presence of all peers that count as connected, and that no look has seen since.
    async fn correct_all_presence(
        &self,
        since: Instant,
        progress: &mut Progress<'_>,
    ) -> Result<(), ProblemCode> {
        let mut sessions = self.unseen_sessions(Unseen {
            unseen_for: since.elapsed(),
            rooms: UnseenRooms::All,
        });
        let mut failure = None;
        while let Some(session) = patiently!(sessions.next())? {
            match patiently!(self.correct_presence(&session, since.elapsed())) {
                Ok(corrected) => {
                    progress.reconciled.corrected += corrected;
                    progress.note().await;
                }
                Err(code) => failure = Some(code),
            }
        }
        failure.map_or(Ok(()), Err)
    }
}

/// What came of a reconciliation so far, noted now and then for who waits for it.
struct Progress<'a> {
    store: &'a Store,
    reconciliation: &'a Reconciliation,
    reconciled: Reconciled,
    noted_at: Option<Instant>,
}

impl Progress<'_> {
    /// Notes it, unless that was done a moment ago.
    async fn note(&mut self) {
        if self.noted_at.is_some_and(|at| at.elapsed() < NOTE_INTERVAL) {
            return;
        }
        self.noted_at = Some(Instant::now());
        let noted = self
            .store
            .note_reconciliation(self.reconciliation, self.reconciled, false);
        // Where the database is away, requests log that.
        let _ = noted.await;
    }

    /// Something could not be done; the first of these problems counts.
    fn failed(&mut self, code: ProblemCode) {
        self.reconciled.problem = self.reconciled.problem.or(Some(code));
    }
}

/// The attempts at one request, which may fail for a while.
struct Attempts {
    deadline: Instant,
    retry: u32,
}

impl Default for Attempts {
    fn default() -> Self {
        Self {
            deadline: Instant::now() + PATIENCE,
            retry: 0,
        }
    }
}

impl Attempts {
    /// Pauses before another attempt.
    ///
    /// # Errors
    /// The problem, where another attempt would come to the same, or too late.
    async fn pause_after(&mut self, error: impl Into<SnapshotError>) -> Result<(), ProblemCode> {
        let error = error.into();
        let pause = match &error {
            SnapshotError::Upstream(HmsError::RateLimited { retry_after }) => *retry_after,
            SnapshotError::Upstream(
                HmsError::Timeout(_) | HmsError::Unavailable(_) | HmsError::Overloaded,
            )
            | SnapshotError::Store(_) => BACKOFF.pause(self.retry),
            SnapshotError::Upstream(_) | SnapshotError::Unstorable(_) => {
                return Err(problem(&error));
            }
        };
        if Instant::now() + pause >= self.deadline {
            return Err(problem(&error));
        }
        self.retry += 1;
        sleep(pause).await;
        Ok(())
    }
}
