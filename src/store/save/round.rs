//! One round of a batch: from the baselines of its peers to their conditional write.

use std::collections::BTreeMap;

use sqlx::{Connection, PgConnection};

use super::align::align_restored_peers;
use super::baseline::{Baseline, VersionedState};
use super::peer_write::{PeerWrite, Saved};
use super::read::read_peers;
use super::rebuild::SET_LOCK_TIMEOUT;
use super::recent_writes::RecentWrites;
use super::straggler::is_lock_timeout;
use super::write::{Written, write_peers};
use crate::domain::{NewForward, PeerKey, Report, Rules, Timestamp};
use crate::store::Layout;
use crate::store::compaction::{may_be_settled, settled_until};
use crate::store::connections::{Statement, begin_on_nodes};
use crate::store::fetch_jobs::queue_fetch_jobs;
use crate::store::forwards::queue_forwards;
use crate::store::metrics::SETTLED_REPORTS;
use crate::store::own_events::OwnEvents;
use crate::store::restore_jobs::{queue_restore_jobs, wake_restore_jobs};

/// Saves the pending reports of a batch, except those of peers whose baseline does not hold.
pub(super) struct SaveRound<'a> {
    pub(super) recent_writes: &'a RecentWrites,
    pub(super) reports: &'a [&'a Report],
    /// The indices of the reports to save.
    pub(super) pending: &'a [usize],
    /// Whether baselines may be expected. Where that failed, they are read.
    pub(super) may_expect: bool,
    /// The indices of reports whose peer was changed or erased while the round before wrote it.
    pub(super) overtaken: &'a [usize],
    pub(super) rules: &'a Rules,
    /// How own events are queued, if they are.
    pub(super) own_events: Option<&'a OwnEvents>,
    /// The present instant.
    pub(super) now: Timestamp,
}

/// What came of a round, by the indices of the reports. Reports that are missing need another.
#[derive(Debug, Default)]
pub(super) struct RoundOutcome {
    pub(super) saved: Vec<(usize, Option<Saved>)>,
    /// Those whose peers have to be rebuilt.
    pub(super) out_of_order: Vec<usize>,
    /// Those whose peer was changed or erased meanwhile, or may have been.
    pub(super) overtaken: Vec<usize>,
    /// Whether nothing was written, because somebody else has locked one of the peers.
    pub(super) lock_timed_out: bool,
}

impl Statement for SaveRound<'_> {
    type Output = RoundOutcome;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Output, sqlx::Error> {
        self.save(connection, Layout::OneServer).await
    }

    async fn run_distributed(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Self::Output, sqlx::Error> {
        self.save(connection, Layout::Distributed).await
    }
}

impl SaveRound<'_> {
    async fn save(
        &self,
        connection: &mut PgConnection,
        layout: Layout,
    ) -> Result<RoundOutcome, sqlx::Error> {
        let mut peers = self.pending_by_peer();
        let baselines = self.baselines(connection, layout, &peers).await?;
        let mut outcome = RoundOutcome::default();
        let settled = self.settled(connection).await?;
        for indices in peers.values_mut() {
            indices.retain(|index| !settled.contains(index));
        }
        let peer_writes: Vec<PeerWrite> = peers
            .iter()
            .zip(baselines)
            .filter(|((_, indices), _)| !indices.is_empty())
            .map(|((key, indices), baseline)| {
                PeerWrite::new(key, baseline, self.reports, indices, self.rules)
            })
            .collect();
        for index in settled {
            SETTLED_REPORTS.count(&());
            let saved = Saved::nowhere(self.reports[index]);
            outcome.saved.push((index, saved));
        }
        let (erased, peer_writes): (Vec<PeerWrite>, Vec<PeerWrite>) = peer_writes
            .into_iter()
            .partition(|peer_write| self.is_erased(peer_write));
        let of_erased: Vec<&NewForward> = erased
            .iter()
            .flat_map(|peer_write| self.forwards_of_erased(peer_write))
            .collect();
        queue_forwards(connection, &of_erased).await?;
        for peer_write in erased {
            // As if the save had come just before the erasure: nothing of it is left.
            outcome.saved.extend(peer_write.saved);
            let erased = peer_write.out_of_order.into_iter();
            outcome.saved.extend(erased.map(|index| (index, None)));
        }
        let known: Vec<PeerKey> = peer_writes
            .iter()
            .filter(|peer_write| peer_write.baseline_version.is_some())
            .map(|peer_write| peer_write.key.clone())
            .collect();
        let written = self.write_with_consequences(connection, layout, peer_writes);
        let (settled, overtaken) = match written.await {
            Ok(result) => result,
            Err(error) if is_lock_timeout(&error) => {
                // Whoever has the lock may be erasing the peer.
                outcome.lock_timed_out = true;
                (Vec::new(), known)
            }
            Err(error) => return Err(error),
        };
        for peer_write in settled {
            outcome.saved.extend(peer_write.saved);
            outcome.out_of_order.extend(peer_write.out_of_order);
            if let Some(state) = peer_write.new_state {
                if !peer_write.from_read && peer_write.baseline_version.is_some() {
                    self.recent_writes.record_hit();
                }
                let version = peer_write.version;
                self.recent_writes
                    .insert(peer_write.key, VersionedState { state, version });
            }
        }
        for key in overtaken {
            outcome
                .overtaken
                .extend(peers.get(&key).into_iter().flatten());
        }
        Ok(outcome)
    }

    /// The indices of the pending reports whose time is settled: their events are only passed on. To
    /// be called once the baselines are read, so that a peer that is gone by then is known to be.
    async fn settled(&self, connection: &mut PgConnection) -> Result<Vec<usize>, sqlx::Error> {
        let pending = self.pending.iter().copied();
        let old = |index: &usize| may_be_settled(self.reports[*index].latest_at(), self.now);
        let mut settled: Vec<usize> = pending.filter(old).collect();
        if settled.is_empty() {
            return Ok(settled);
        }
        let until = settled_until(connection).await?;
        settled.retain(|&index| Some(self.reports[index].latest_at()) <= until);
        let forwards = settled
            .iter()
            .filter_map(|&index| self.reports[index].forward());
        let forwards: Vec<&NewForward> = forwards.collect();
        queue_forwards(connection, &forwards).await?;
        Ok(settled)
    }

    /// Whether the peer was there when the round before began to write it, and is not any more.
    fn is_erased(&self, peer_write: &PeerWrite) -> bool {
        let indices = peer_write.saved.iter().map(|(index, _)| index);
        peer_write.from_read
            && peer_write.baseline_version.is_none()
            && indices
                .chain(&peer_write.out_of_order)
                .any(|index| self.overtaken.contains(index))
    }

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
        layout: Layout,
        peers: &BTreeMap<&PeerKey, Vec<usize>>,
    ) -> Result<Vec<Baseline>, sqlx::Error> {
        let expected: Vec<Option<Baseline>> = peers
            .iter()
            .map(|(key, indices)| self.expected_baseline(key, self.reports[indices[0]]))
            .collect();
        let unknown: Vec<&PeerKey> = peers
            .keys()
            .zip(&expected)
            .filter(|(_, baseline)| baseline.is_none())
            .map(|(key, _)| *key)
            .collect();
        let mut stored = read_peers(connection, layout, &unknown).await?;
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
        // What is so old may be of a peer that is gone, or goes just now.
        if !self.may_expect || may_be_settled(first_report.latest_at(), self.now) {
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

impl SaveRound<'_> {
    /// Writes new states, and what follows from them in the same transaction: dates restored states
    /// like their source, queues the restores and the fetches that events request, wakes those that
    /// wait for a leave, and queues the events to pass on and our own. Returns the writes that are settled,
    /// and the peers that were changed or erased meanwhile.
    async fn write_with_consequences(
        &self,
        connection: &mut PgConnection,
        layout: Layout,
        peer_writes: Vec<PeerWrite>,
    ) -> Result<(Vec<PeerWrite>, Vec<PeerKey>), sqlx::Error> {
        let has_forwards = self
            .pending
            .iter()
            .any(|&index| self.reports[index].forward().is_some());
        let has_consequences = !peer_writes.iter().all(is_plain);
        let has_own_events =
            |peer_write: &PeerWrite| !peer_write.drops.is_empty() || peer_write.may_change_resume();
        let own_events = self
            .own_events
            .filter(|_| peer_writes.iter().any(has_own_events));
        let has_more = has_forwards || has_consequences || own_events.is_some();
        let is_one_statement = layout == Layout::OneServer || !has_new_state(&peer_writes);
        if !has_more && is_one_statement {
            return write_new_states(connection, layout, peer_writes).await;
        }
        let mut transaction = match layout {
            Layout::OneServer => connection.begin().await?,
            Layout::Distributed => begin_on_nodes(connection, SET_LOCK_TIMEOUT).await?,
        };
        let (settled, overtaken) = write_new_states(&mut transaction, layout, peer_writes).await?;
        if has_consequences {
            queue_consequences(&mut transaction, layout, &settled).await?;
        }
        let has_queued = self
            .queue_events(&mut transaction, layout, own_events, &settled)
            .await?;
        transaction.commit().await?;
        if let Some(own_events) = own_events.filter(|_| has_queued) {
            own_events.notify();
        }
        Ok((settled, overtaken))
    }

    /// Queues the events to pass on, each before the drop that it reports, and then those of the
    /// states that are saved. Returns whether there are any of our own.
    async fn queue_events(
        &self,
        connection: &mut PgConnection,
        layout: Layout,
        own_events: Option<&OwnEvents>,
        settled: &[PeerWrite],
    ) -> Result<bool, sqlx::Error> {
        let drops = own_events.map_or_else(BTreeMap::new, |events| dropped(events, settled));
        let states = match own_events {
            Some(own_events) => own_events.announce(connection, layout, settled).await?,
            None => Vec::new(),
        };
        let mut forwards: Vec<&NewForward> = Vec::new();
        for peer_write in settled {
            let saved = peer_write.saved.iter().map(|&(index, _)| index);
            let saved = saved.map(|index| (index, self.reports[index].forward()));
            // These are passed on when their rows are rebuilt.
            let out_of_order = peer_write.out_of_order.iter().map(|&index| (index, None));
            for (index, passed_on) in saved.chain(out_of_order) {
                forwards.extend(passed_on);
                forwards.extend(drops.get(&index));
            }
        }
        forwards.extend(&states);
        queue_forwards(connection, &forwards).await?;
        Ok(!drops.is_empty() || !states.is_empty())
    }

    /// The events to pass on of all reports of a peer that was erased.
    fn forwards_of_erased(&self, peer_write: &PeerWrite) -> Vec<&NewForward> {
        let saved = peer_write.saved.iter().map(|(index, _)| index);
        let indices = saved.chain(&peer_write.out_of_order);
        indices
            .filter_map(|&index| self.reports[index].forward())
            .collect()
    }
}

/// The events of the drops that are saved with these writes, by the index of their report.
fn dropped(own_events: &OwnEvents, settled: &[PeerWrite]) -> BTreeMap<usize, NewForward> {
    let drops = settled.iter().flat_map(|peer_write| &peer_write.drops);
    drops
        .map(|(index, event)| (*index, own_events.forward(event)))
        .collect()
}

/// Whether nothing follows from a write.
fn is_plain(peer_write: &PeerWrite) -> bool {
    peer_write.restore_requested_at.is_none()
        && peer_write.watch_requests.is_empty()
        && !is_of_ended(peer_write)
        && peer_write.change_to_align.is_none()
}

/// Whether any of these writes has something to write.
fn has_new_state(peer_writes: &[PeerWrite]) -> bool {
    peer_writes
        .iter()
        .any(|peer_write| peer_write.new_state.is_some())
}

/// What follows from writes that are settled.
async fn queue_consequences(
    connection: &mut PgConnection,
    layout: Layout,
    settled: &[PeerWrite],
) -> Result<(), sqlx::Error> {
    align_restored_peers(connection, layout, settled).await?;
    queue_restore_jobs(connection, layout, settled).await?;
    queue_fetch_jobs(connection, layout, settled).await?;
    let ended = settled
        .iter()
        .filter(|peer_write| is_of_ended(peer_write))
        .map(|peer_write| peer_write.key.user_id.as_str());
    wake_restore_jobs(connection, &ended.collect::<Vec<_>>()).await
}

/// Whether a peer that has ended is written.
fn is_of_ended(peer_write: &PeerWrite) -> bool {
    peer_write
        .new_state
        .as_ref()
        .is_some_and(|state| state.presence.ended.is_some())
}

/// Writes new states. As [`SaveRound::write_with_consequences`].
async fn write_new_states(
    connection: &mut PgConnection,
    layout: Layout,
    peer_writes: Vec<PeerWrite>,
) -> Result<(Vec<PeerWrite>, Vec<PeerKey>), sqlx::Error> {
    let changed: Vec<&PeerWrite> = peer_writes
        .iter()
        .filter(|peer_write| peer_write.new_state.is_some())
        .collect();
    let result = if changed.is_empty() {
        Written::default()
    } else {
        write_peers(connection, layout, &changed).await?
    };
    let is_settled = |peer_write: &PeerWrite| match &peer_write.new_state {
        Some(_) => result.written.binary_search(&peer_write.version).is_ok(),
        None => peer_write.from_read,
    };
    // It was there when it was read, or when the statement began.
    let is_overtaken = |peer_write: &PeerWrite| {
        let was_read = peer_write.from_read && peer_write.baseline_version.is_some();
        was_read || result.overtaken.contains(&peer_write.version)
    };
    let (settled, others): (Vec<PeerWrite>, Vec<PeerWrite>) =
        peer_writes.into_iter().partition(is_settled);
    let overtaken = others
        .into_iter()
        .filter(is_overtaken)
        .map(|peer_write| peer_write.key)
        .collect();
    Ok((settled, overtaken))
}
