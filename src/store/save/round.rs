//! One round of a batch: from the baselines of its peers to their conditional write.

use std::collections::BTreeMap;

use sqlx::{Connection, PgConnection};

use super::baseline::{Baseline, VersionedState};
use super::out_of_order::add_out_of_order;
use super::peer_write::{PeerWrite, Saved};
use super::read::read_peers;
use super::recent_writes::RecentWrites;
use super::write::write_peers;
use crate::domain::{PeerKey, Report, Snapshot};
use crate::store::connections::Statement;
use crate::store::restore_jobs::queue_restore_jobs;

/// Saves the pending reports of a batch, except those of peers whose baseline does not hold.
pub(super) struct SaveRound<'a> {
    pub(super) recent_writes: &'a RecentWrites,
    pub(super) reports: &'a [Box<Report>],
    /// The indices of the reports to save.
    pub(super) pending: &'a [usize],
    /// Whether baselines may be expected. Where that failed, they are read.
    pub(super) may_expect: bool,
}

impl Statement for SaveRound<'_> {
    /// What was saved, by the indices of the reports.
    type Output = Vec<(usize, Saved)>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Output, sqlx::Error> {
        let peers = self.pending_by_peer();
        let baselines = self.baselines(connection, &peers).await?;
        let peer_writes: Vec<PeerWrite> = peers
            .iter()
            .zip(baselines)
            .map(|((key, indices), baseline)| PeerWrite::new(key, baseline, self.reports, indices))
            .collect();
        let settled = write_with_jobs(connection, peer_writes).await?;
        let mut saved = Vec::with_capacity(self.pending.len());
        let mut out_of_order = Vec::new();
        for peer_write in settled {
            saved.extend(peer_write.saved);
            out_of_order.extend(peer_write.out_of_order);
            if let Some(state) = peer_write.new_state {
                if !peer_write.from_read && peer_write.baseline_snapshot_id.is_some() {
                    self.recent_writes.record_hit();
                }
                let version = peer_write.version;
                self.recent_writes
                    .insert(peer_write.key, VersionedState { state, version });
            }
        }
        if !out_of_order.is_empty() {
            let snapshots: Vec<&Snapshot> = out_of_order.iter().map(|(_, row)| row).collect();
            let added = add_out_of_order(connection, &snapshots).await?;
            saved.extend(out_of_order.iter().map(|(index, _)| *index).zip(added));
        }
        Ok(saved)
    }
}

impl SaveRound<'_> {
    /// The indices of each peer's pending reports. Sorted by peer, so that concurrent batches lock
    /// rows in one order.
    fn pending_by_peer(&self) -> BTreeMap<&PeerKey, Vec<usize>> {
        let mut peers: BTreeMap<&PeerKey, Vec<usize>> = BTreeMap::new();
        for &index in self.pending {
            let key = self.reports[index].key();
            peers.entry(key).or_default().push(index);
        }
        peers
    }

    /// The baseline of each peer, in order. Those that cannot be expected are read.
    async fn baselines(
        &self,
        connection: &mut PgConnection,
        peers: &BTreeMap<&PeerKey, Vec<usize>>,
    ) -> Result<Vec<Baseline>, sqlx::Error> {
        let expected: Vec<Option<Baseline>> = peers
            .iter()
            .map(|(key, indices)| self.expected_baseline(key, &self.reports[indices[0]]))
            .collect();
        let unknown: Vec<&PeerKey> = peers
            .keys()
            .zip(&expected)
            .filter(|(_, baseline)| baseline.is_none())
            .map(|(key, _)| *key)
            .collect();
        let mut stored = read_peers(connection, &unknown).await?;
        let mut read_baseline = |key: &PeerKey| {
            let state = stored.remove(key);
            self.recent_writes.verify(key, state.as_ref());
            Baseline::Read(state)
        };
        Ok(peers
            .keys()
            .zip(expected)
            .map(|(key, baseline)| baseline.unwrap_or_else(|| read_baseline(key)))
            .collect())
    }

    /// What this process wrote last, or nothing of a peer that just joined.
    fn expected_baseline(&self, key: &PeerKey, first_report: &Report) -> Option<Baseline> {
        if !self.may_expect {
            return None;
        }
        let recent = self.recent_writes.get(key);
        if recent.is_some() || first_report.is_first_of_its_peer() {
            Some(Baseline::Expected(recent))
        } else {
            None
        }
    }
}

/// Writes new states, and queues the restores that joins request, both or neither. Returns the
/// writes that are settled.
async fn write_with_jobs(
    connection: &mut PgConnection,
    peer_writes: Vec<PeerWrite>,
) -> Result<Vec<PeerWrite>, sqlx::Error> {
    let requests_restore = |peer_write: &PeerWrite| peer_write.restore_requested_at.is_some();
    if !peer_writes.iter().any(requests_restore) {
        return write_new_states(connection, peer_writes).await;
    }
    let mut transaction = connection.begin().await?;
    let settled = write_new_states(&mut transaction, peer_writes).await?;
    queue_restore_jobs(&mut transaction, &settled).await?;
    transaction.commit().await?;
    Ok(settled)
}

/// Writes new states, and returns the writes that are settled: those whose baseline held.
async fn write_new_states(
    connection: &mut PgConnection,
    peer_writes: Vec<PeerWrite>,
) -> Result<Vec<PeerWrite>, sqlx::Error> {
    let changed: Vec<&PeerWrite> = peer_writes
        .iter()
        .filter(|peer_write| peer_write.new_state.is_some())
        .collect();
    let mut written = if changed.is_empty() {
        Vec::new()
    } else {
        write_peers(connection, &changed).await?
    };
    written.sort_unstable();
    let is_settled = |peer_write: &PeerWrite| match &peer_write.new_state {
        Some(state) => written.binary_search(&state.snapshot_id).is_ok(),
        None => peer_write.from_read,
    };
    Ok(peer_writes.into_iter().filter(is_settled).collect())
}
