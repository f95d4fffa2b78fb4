//! Saving observations, many in one statement.
//!
//! A batch folds the observations ([`super::fold`]) into what is known of their peers, and writes what moved on the condition
//! that this is still so. What is known is what was written last ([`super::memory`]), or nothing of a peer that just joined,
//! or else what is read. Peers that are otherwise, since somebody else moved them, are read and folded again.

use std::collections::BTreeMap;

use sqlx::{Connection, PgConnection};

pub use self::peer_write::Saved;
use self::peer_write::{Fold, Start, Versioned, by_peer, fold};
use self::read::{add_late, read};
use self::recent_writes::Memory;
use self::write::write;
use crate::domain::{PeerKey, Report, Snapshot};
use crate::store::StoreError;
use crate::store::batch::Batch;
use crate::store::connections::{Database, run};
use crate::store::restore_jobs::queue;

mod columns;
pub(in crate::store) mod peer_write;
mod read;
mod recent_writes;
mod write;

/// How often a batch is folded anew because other replicas were faster. Each time, one of them got on.
const MAX_ROUNDS: usize = 50;

/// Saves observations in batches.
pub(in crate::store) struct SaveBatch {
    database: Database,
    memory: Memory,
}

impl SaveBatch {
    pub(in crate::store) fn new(database: Database) -> Self {
        Self {
            database,
            memory: Memory::new(),
        }
    }
}

impl Batch for SaveBatch {
    // Boxed, since it is handed on from queue to queue.
    type Item = Box<Report>;
    type Answer = Saved;
    const NAME: &'static str = "save";
    const ONLY_AWAITED: bool = false;

    fn size(report: &Box<Report>) -> usize {
        report.size()
    }

    async fn run(&self, reports: Vec<Box<Report>>) -> Vec<Result<Saved, StoreError>> {
        match self.save(&reports).await {
            Ok(saved) => saved.into_iter().map(Ok).collect(),
            // One of them is to blame: each for itself, so that it fails alone.
            Err(StoreError::Refused(_)) if reports.len() > 1 => {
                let mut results = Vec::with_capacity(reports.len());
                for report in reports {
                    let saved = self.save(std::slice::from_ref(&report)).await;
                    results.push(saved.map(|mut saved| saved.remove(0)));
                }
                results
            }
            Err(error) => reports.iter().map(|_| Err(error.again())).collect(),
        }
    }
}

impl SaveBatch {
    /// One answer for each report, in order.
    async fn save(&self, reports: &[Box<Report>]) -> Result<Vec<Saved>, StoreError> {
        let mut answers: Vec<Option<Saved>> = reports.iter().map(|_| None).collect();
        let mut open: Vec<usize> = (0..reports.len()).collect();
        for round in 0..MAX_ROUNDS {
            let done = run!(self.database, connection => self.round(connection, reports, &open, round == 0))?;
            for (place, saved) in done {
                answers[place] = Some(saved);
            }
            open.retain(|&place| answers[place].is_none());
            if open.is_empty() {
                return Ok(answers.into_iter().flatten().collect());
            }
        }
        Err(StoreError::Overloaded {
            retry_after: std::time::Duration::from_secs(1),
        })
    }

    /// Saves the reports at `places`, but for those of peers that are not as was expected, or that were written by somebody
    /// else meanwhile.
    async fn round(
        &self,
        connection: &mut PgConnection,
        reports: &[Box<Report>],
        places: &[usize],
        may_expect: bool,
    ) -> Result<Vec<(usize, Saved)>, sqlx::Error> {
        let peers = by_peer(reports, places);
        let starts = self.starts(connection, reports, &peers, may_expect).await?;
        let folds = fold(reports, peers, starts);

        let settled = if folds.iter().any(|fold| fold.wants_restore.is_some()) {
            // The join and the job that it causes: both, or neither.
            let mut together = connection.begin().await?;
            let settled = write_moved(&mut together, folds).await?;
            queue(&mut together, &settled).await?;
            together.commit().await?;
            settled
        } else {
            write_moved(connection, folds).await?
        };
        let (mut answers, mut late) = (Vec::new(), Vec::new());
        for fold in settled {
            answers.extend(fold.answers);
            late.extend(fold.late);
            if let Some(state) = fold.moved {
                if !fold.is_certain && fold.replaces.is_some() {
                    self.memory.confirm();
                }
                self.memory.keep(
                    fold.key,
                    Versioned {
                        state,
                        version: fold.version,
                    },
                );
            }
        }
        if !late.is_empty() {
            let rows: Vec<&Snapshot> = late.iter().map(|(_, row)| row).collect();
            let saved = add_late(connection, &rows).await?;
            answers.extend(late.iter().map(|(place, _)| *place).zip(saved));
        }
        Ok(answers)
    }

    /// What is expected of each peer, and what the database holds of those of which nothing is.
    async fn starts(
        &self,
        connection: &mut PgConnection,
        reports: &[Box<Report>],
        peers: &BTreeMap<&PeerKey, Vec<usize>>,
        may_expect: bool,
    ) -> Result<Vec<Start>, sqlx::Error> {
        let expected = |(key, places): (&&PeerKey, &Vec<usize>)| {
            if may_expect {
                self.expected(key, &reports[places[0]])
            } else {
                None
            }
        };
        let expected: Vec<Option<Start>> = peers.iter().map(expected).collect();
        let unknown = peers
            .keys()
            .zip(&expected)
            .filter(|(_, start)| start.is_none())
            .map(|(key, _)| *key);
        let mut known = read(connection, &unknown.collect::<Vec<_>>()).await?;
        let mut found = |key: &PeerKey| {
            let found = known.remove(key);
            self.memory.check(key, found.as_ref());
            Start::Read(found)
        };
        Ok(peers
            .keys()
            .zip(expected)
            .map(|(key, start)| start.unwrap_or_else(|| found(key)))
            .collect())
    }

    fn expected(&self, key: &PeerKey, told: &Report) -> Option<Start> {
        let remembered = self.memory.recall(key);
        (remembered.is_some() || told.is_first_of_its_peer()).then_some(Start::Expected(remembered))
    }
}

/// Writes what moved, and gives back what is settled: the folds of peers that were as they were read or expected.
async fn write_moved(
    connection: &mut PgConnection,
    folds: Vec<Fold>,
) -> Result<Vec<Fold>, sqlx::Error> {
    let moved: Vec<&Fold> = folds.iter().filter(|fold| fold.moved.is_some()).collect();
    let mut written = if moved.is_empty() {
        Vec::new()
    } else {
        write(connection, &moved).await?
    };
    written.sort_unstable();
    let settled = |fold: &Fold| match &fold.moved {
        Some(state) => written.binary_search(&state.snapshot_id).is_ok(),
        None => fold.is_certain,
    };
    Ok(folds.into_iter().filter(settled).collect())
}
