//! Saves: reports about peers, many in one statement.
//!
//! | file | what lives there |
//! |---|---|
//! | [`round`] | one attempt of a batch: baselines, new states, conditional write |
//! | [`baseline`], [`recent_writes`] | what a write starts from: read, or expected |
//! | [`peer_write`] | what a batch writes of one peer: pure code that applies [`crate::domain`] |
//! | [`rebuild`] | a report that arrived out of order, in a transaction of its own |
//! | [`read`], [`write`], [`columns`] | the statements and their arguments |
//!
//! A batch computes the new states of its peers from their baselines, and writes them on the
//! condition that the baselines still hold. Where one does not, since another replica or an admin
//! was faster, that peer is read and goes through another round.

mod baseline;
mod columns;
mod peer_write;
mod read;
mod rebuild;
mod recent_writes;
mod round;
mod write;

use std::sync::Arc;
use std::time::Duration;

pub(super) use self::peer_write::PeerWrite;
pub use self::peer_write::Saved;
use self::rebuild::{Rebuild, RebuildOutcome};
use self::recent_writes::RecentWrites;
use self::round::SaveRound;
use super::StoreError;
use super::batch::{Batch, Ticket};
use super::connections::Database;
use crate::domain::{Report, Rules};

/// How many rounds a batch gets. In each that fails, another replica succeeded.
const MAX_ROUNDS: usize = 50;
/// When to try again after the last round failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Saves reports in batches.
pub(super) struct SaveBatch {
    database: Database,
    recent_writes: RecentWrites,
    rules: Rules,
}

impl SaveBatch {
    pub(super) fn new(database: Database, rules: Rules) -> Self {
        Self {
            database,
            recent_writes: RecentWrites::new(),
            rules,
        }
    }

    /// One result for each report, in order.
    async fn save(&self, reports: &[&Report]) -> Result<Vec<Option<Saved>>, StoreError> {
        let mut saved: Vec<Option<Option<Saved>>> = reports.iter().map(|_| None).collect();
        let mut pending: Vec<usize> = (0..reports.len()).collect();
        let mut overtaken: Vec<usize> = Vec::new();
        for round in 0..MAX_ROUNDS {
            let save_round = SaveRound {
                recent_writes: &self.recent_writes,
                reports,
                pending: &pending,
                may_expect: round == 0,
                overtaken: &overtaken,
                rules: &self.rules,
            };
            let outcome = self.database.execute(&save_round).await?;
            for (index, answer) in outcome.saved {
                saved[index] = Some(answer);
            }
            for index in outcome.out_of_order {
                let (report, rules) = (reports[index], &self.rules);
                let rebuild = Rebuild { report, rules };
                if let RebuildOutcome::Saved(answer) = self.database.execute(&rebuild).await? {
                    saved[index] = Some(answer);
                }
            }
            overtaken = outcome.overtaken;
            pending.retain(|&index| saved[index].is_none());
            if pending.is_empty() {
                return Ok(saved.into_iter().flatten().collect());
            }
        }
        Err(StoreError::Overloaded {
            retry_after: RETRY_AFTER,
        })
    }
}

impl Batch for SaveBatch {
    // Boxed, since it moves from queue to queue.
    type Item = Box<Report>;
    /// None where nothing was observed.
    type Output = Option<Saved>;
    const NAME: &'static str = "save";
    const SKIPS_ABANDONED: bool = false;

    fn size(report: &Box<Report>) -> usize {
        report.size()
    }

    async fn run(self: &Arc<Self>, tickets: Vec<Ticket<Self>>) {
        let reports: Vec<&Report> = tickets.iter().map(|ticket| &*ticket.item).collect();
        match self.save(&reports).await {
            Ok(saved) => {
                for (ticket, saved) in tickets.into_iter().zip(saved) {
                    ticket.answer(Ok(saved));
                }
            }
            // One of them is to blame. Save each on its own, so that it fails alone.
            Err(StoreError::Refused(_)) if tickets.len() > 1 => {
                for ticket in tickets {
                    let saved = self.save(&[&*ticket.item]).await;
                    ticket.answer(saved.map(|mut saved| saved.remove(0)));
                }
            }
            Err(error) => {
                for ticket in tickets {
                    ticket.answer(Err(error.clone()));
                }
            }
        }
    }
}
