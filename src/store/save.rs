//! Saving observations, many in one statement.
//!
//! A batch reads what is known of its peers, folds the observations in ([`super::fold`]), and writes what moved on the
//! condition that nobody else did meanwhile. Peers that somebody else moved are folded again.

use sqlx::{Connection, PgConnection};

use super::StoreError;
use super::database::{Database, run};
use super::fold::{Fold, Saved, fold};
use super::lanes::Batch;
use super::restores::queue;
use super::statements::{add_late, read};
use super::write::write;
use crate::domain::{Report, Snapshot};

/// How often a batch is folded anew because other replicas were faster. Each time, one of them got on.
const MAX_ROUNDS: usize = 50;

/// Saves observations in batches.
pub(super) struct SaveBatch(pub(super) Database);

impl Batch for SaveBatch {
    type Item = Report;
    type Answer = Saved;
    const NAME: &'static str = "save";
    const ONLY_AWAITED: bool = false;

    fn size(told: &Report) -> usize {
        let seen = &told.observation;
        seen.metadata.len() + seen.tracks.as_ref().map_or(0, |tracks| tracks.as_str().len())
    }

    async fn run(&self, reports: Vec<Report>) -> Vec<Result<Saved, StoreError>> {
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
    async fn save(&self, reports: &[Report]) -> Result<Vec<Saved>, StoreError> {
        let mut answers: Vec<Option<Saved>> = reports.iter().map(|_| None).collect();
        let mut open: Vec<usize> = (0..reports.len()).collect();
        for _ in 0..MAX_ROUNDS {
            let done = run!(self.0, connection => save_round(connection, reports, &open))?;
            for (place, saved) in done {
                answers[place] = Some(saved);
            }
            open.retain(|&place| answers[place].is_none());
            if open.is_empty() {
                return Ok(answers.into_iter().flatten().collect());
            }
        }
        Err(StoreError::Overloaded { retry_after: std::time::Duration::from_secs(1) })
    }
}

/// Saves the reports at `places`, but for those of peers that were written by somebody else meanwhile.
async fn save_round(
    connection: &mut PgConnection,
    reports: &[Report],
    places: &[usize],
) -> Result<Vec<(usize, Saved)>, sqlx::Error> {
    let mut keys: Vec<_> = places.iter().map(|&place| &reports[place].observation.key).collect();
    keys.sort_unstable();
    keys.dedup();
    let known = read(connection, &keys).await?;
    let folds = fold(reports, places, known);

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
    }
    if !late.is_empty() {
        let rows: Vec<&Snapshot> = late.iter().map(|(_, row)| row).collect();
        let saved = add_late(connection, &rows).await?;
        answers.extend(late.iter().map(|(place, _)| *place).zip(saved));
    }
    Ok(answers)
}

/// Writes what moved, and gives back what is settled: the folds of peers that nobody else wrote meanwhile.
async fn write_moved(connection: &mut PgConnection, folds: Vec<Fold>) -> Result<Vec<Fold>, sqlx::Error> {
    let moved: Vec<&Fold> = folds.iter().filter(|fold| fold.moved.is_some()).collect();
    let mut written = if moved.is_empty() { Vec::new() } else { write(connection, &moved).await? };
    written.sort_unstable();
    let settled =
        |fold: &Fold| fold.moved.as_ref().is_none_or(|state| written.binary_search(&state.snapshot_id).is_ok());
    Ok(folds.into_iter().filter(settled).collect())
}
