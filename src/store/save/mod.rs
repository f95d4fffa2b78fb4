//! Saves: reports about peers, many in one statement.
//!
//! | file | what lives there |
//! |---|---|
//! | [`round`] | one attempt of a batch: baselines, new states, conditional write |
//! | [`baseline`], [`recent_writes`] | what a write starts from: read, or expected |
//! | [`peer_write`] | what a batch writes of one peer: pure code that applies [`crate::domain`] |
//! | [`rebuild`] | a report that arrived out of order, in a transaction of its own |
//! | [`align`] | one date for each change, on whichever peers it is |
//! | [`straggler`] | reports that have to wait, apart from their batch |
//! | [`read`], [`write`], [`write_by_row`], [`columns`] | the statements and their arguments |
//!
//! A batch computes the new states of its peers from their baselines, and writes them on the
//! condition that the baselines still hold. Where one does not, since another replica or an admin
//! was faster, that peer is read and goes through another round.

mod align;
mod baseline;
mod columns;
mod peer_write;
mod read;
mod rebuild;
mod recent_writes;
mod round;
mod straggler;
mod write;
mod write_by_row;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) use self::peer_write::PeerWrite;
pub use self::peer_write::Saved;
use self::rebuild::Rebuild;
use self::recent_writes::RecentWrites;
use self::round::SaveRound;
pub(super) use self::straggler::STRAGGLERS;
use self::straggler::{LockedPeers, Stragglers, WaitForPeer, WaitReason, Waited};
use super::batch::{Batch, Ticket};
use super::connections::Database;
use super::forwards::QueueForward;
use super::metrics::QueueName;
use super::own_events::OwnEvents;
use super::{Layout, StoreError};
use crate::domain::{Clock, PeerKey, Report, Rules, UserId};
use crate::trace::{self, Instrument};

/// How many rounds a batch gets. In each that fails, another replica succeeded.
const MAX_ROUNDS: usize = 50;
/// How long one report may wait for its peer.
const PATIENCE: Duration = Duration::from_secs(5);
/// When to try again after the last round failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Saves reports in batches.
pub(super) struct SaveBatch {
    database: Database,
    recent_writes: RecentWrites,
    rules: Rules,
    own_events: Option<OwnEvents>,
    clock: Clock,
    stragglers: Stragglers,
}

/// What came of one report in a batch.
#[derive(Debug, Clone)]
enum Progress {
    Saved(Option<Saved>),
    /// It has to wait: it is out of order, or somebody else has locked its peer.
    Waits(WaitReason),
}

impl SaveBatch {
    pub(super) fn new(
        database: Database,
        rules: Rules,
        clock: Clock,
        own_events: Option<OwnEvents>,
    ) -> Self {
        Self {
            database,
            recent_writes: RecentWrites::new(),
            rules,
            own_events,
            clock,
            stragglers: Stragglers::new(),
        }
    }

    /// What came of each report, in order. Waits neither for locks nor for rebuilds.
    async fn save(&self, reports: &[&Report]) -> Result<Vec<Progress>, StoreError> {
        let mut progress: Vec<Option<Progress>> = reports.iter().map(|_| None).collect();
        let mut pending: Vec<usize> = (0..reports.len()).collect();
        let mut overtaken: Vec<usize> = Vec::new();
        let now = self.clock.now();
        for round in 0..MAX_ROUNDS {
            let save_round = SaveRound {
                recent_writes: &self.recent_writes,
                reports,
                pending: &pending,
                may_expect: round == 0,
                overtaken: &overtaken,
                rules: &self.rules,
                own_events: self.own_events.as_ref(),
                now,
            };
            let outcome = self.database.execute(&save_round).await?;
            for (index, answer) in outcome.saved {
                progress[index] = Some(Progress::Saved(answer));
            }
            for index in outcome.out_of_order {
                progress[index] = Some(Progress::Waits(WaitReason::OutOfOrder));
            }
            if outcome.lock_timed_out {
                let locked = LockedPeers {
                    reports,
                    pending: &pending,
                };
                let mut locked = self.database.execute(&locked).await?;
                let all_are_free = locked.is_empty();
                if all_are_free {
                    locked.clone_from(&pending);
                }
                for index in locked {
                    let is_new = all_are_free && !outcome.overtaken.contains(&index);
                    let reason = if is_new {
                        WaitReason::Inserted
                    } else {
                        WaitReason::Locked
                    };
                    progress[index].get_or_insert(Progress::Waits(reason));
                }
            }
            overtaken = outcome.overtaken;
            pending.retain(|&index| progress[index].is_none());
            if pending.is_empty() {
                return Ok(progress.into_iter().flatten().collect());
            }
        }
        Err(StoreError::Overloaded {
            retry_after: RETRY_AFTER,
        })
    }

    /// Saves one report, however long it has to wait for its peer.
    async fn save_patiently(
        &self,
        report: &Report,
        mut reason: WaitReason,
    ) -> Result<Waited, StoreError> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() <= deadline {
            let _permit = self.stragglers.permit(reason).await;
            let outcome = match reason {
                WaitReason::Inserted => Waited::Ready,
                WaitReason::Locked => self.database.execute(&WaitForPeer(report.key())).await?,
                WaitReason::OutOfOrder => {
                    let rebuild = Rebuild {
                        report,
                        rules: &self.rules,
                        own_events: self.own_events.as_ref(),
                    };
                    self.database.execute(&rebuild).await?
                }
            };
            match outcome {
                Waited::Ready => {}
                Waited::Locked => {
                    reason = WaitReason::Locked;
                    continue;
                }
                Waited::Saved(_) | Waited::Erased => return Ok(outcome),
            }
            match self.save(&[report]).await?.remove(0) {
                Progress::Saved(saved) => return Ok(Waited::Saved(saved)),
                Progress::Waits(next) => reason = next,
            }
        }
        Err(StoreError::Overloaded {
            retry_after: RETRY_AFTER,
        })
    }

    /// Saves a report of a peer that was erased meanwhile: only the event is left, to be passed on.
    async fn save_erased(&self, report: &Report) -> Result<Option<Saved>, StoreError> {
        if let Some(forward) = report.forward() {
            self.database
                .execute(&QueueForward(forward.clone()))
                .await?;
        }
        Ok(Saved::just_before_erasure(report))
    }

    /// Answers a ticket as soon as it is saved, in a task of its own.
    fn straggle(self: &Arc<Self>, ticket: Ticket<Self>, reason: WaitReason) {
        let key = ticket.item.key().clone();
        if !self.stragglers.add(&key, ticket) {
            return;
        }
        let batch = Arc::clone(self);
        let work = async move {
            let mut reason = reason;
            while let Some(ticket) = batch.stragglers.next(&key) {
                let waited = batch.save_patiently(&ticket.item, reason).await;
                if let Ok(Waited::Saved(saved)) = waited {
                    ticket.answer(Ok(saved));
                    reason = WaitReason::Locked;
                    continue;
                }
                // The others of this peer have waited as long.
                let mut unsaved = Some(ticket);
                while let Some(ticket) = unsaved {
                    let answer = match &waited {
                        Err(error) => Err(error.clone()),
                        Ok(_) => batch.save_erased(&ticket.item).await,
                    };
                    ticket.answer(answer);
                    unsaved = batch.stragglers.next(&key);
                }
                return;
            }
        };
        tokio::spawn(work.instrument(trace::current()));
    }
}

/// Keys by their users.
fn by_user<'a>(
    keys: impl IntoIterator<Item = &'a PeerKey>,
) -> BTreeMap<&'a UserId, Vec<&'a PeerKey>> {
    let mut users: BTreeMap<&UserId, Vec<&PeerKey>> = BTreeMap::new();
    for key in keys {
        users.entry(&key.user_id).or_default().push(key);
    }
    users
}

/// The tickets of each user.
fn parts_by_user(tickets: Vec<Ticket<SaveBatch>>) -> Vec<Vec<Ticket<SaveBatch>>> {
    let mut parts: BTreeMap<UserId, Vec<Ticket<SaveBatch>>> = BTreeMap::new();
    for ticket in tickets {
        let user_id = ticket.item.key().user_id.clone();
        parts.entry(user_id).or_default().push(ticket);
    }
    parts.into_values().collect()
}

impl Batch for SaveBatch {
    // Boxed, since it moves from queue to queue.
    type Item = Box<Report>;
    /// None where nothing was observed.
    type Output = Option<Saved>;
    const QUEUE: QueueName = QueueName::Save;
    const SKIPS_ABANDONED: bool = false;

    fn layout(&self) -> Layout {
        self.database.layout()
    }

    fn size(report: &Box<Report>) -> usize {
        report.size()
    }

    async fn run(self: &Arc<Self>, tickets: Vec<Ticket<Self>>) {
        let tickets = self.stragglers.join(tickets);
        let mut parts = match self.layout() {
            Layout::OneServer => vec![tickets],
            Layout::Distributed => parts_by_user(tickets),
        };
        while let Some(mut part) = parts.pop() {
            let reports: Vec<&Report> = part.iter().map(|ticket| &*ticket.item).collect();
            match self.save(&reports).await {
                Ok(progress) => {
                    for (ticket, progress) in part.into_iter().zip(progress) {
                        match progress {
                            Progress::Saved(saved) => ticket.answer(Ok(saved)),
                            Progress::Waits(reason) => self.straggle(ticket, reason),
                        }
                    }
                }
                // One of them is to blame. By halves, so that it fails alone.
                Err(StoreError::Refused(_)) if part.len() > 1 => {
                    parts.push(part.split_off(part.len() / 2));
                    parts.push(part);
                }
                Err(error) => {
                    for ticket in part {
                        ticket.answer(Err(error.clone()));
                    }
                }
            }
        }
    }
}
