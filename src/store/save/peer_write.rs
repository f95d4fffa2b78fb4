//! What a batch writes of one peer: pure code between the read and the write.

use uuid::Uuid;

use super::baseline::{Baseline, VersionedState};
use crate::domain::{Effect, PeerKey, PeerState, Report, Snapshot, Timestamp};

/// An observation that was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The row of history that holds it.
    pub snapshot: Snapshot,
    /// Whether it added that row.
    pub changed: bool,
}

/// A row of history whose content was observed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extension {
    pub(super) id: Uuid,
    pub(super) first_observed_at: Timestamp,
    pub(super) last_observed_at: Timestamp,
}

/// What the reports of one peer write.
#[derive(Debug)]
pub(in crate::store) struct PeerWrite {
    pub(in crate::store) key: PeerKey,
    /// The state to write; none where nothing of it changed.
    pub(super) new_state: Option<PeerState>,
    /// The current snapshot of the baseline; none of a peer that is new.
    pub(super) baseline_snapshot_id: Option<Uuid>,
    /// The version of the new state: one more than that of the baseline.
    pub(super) version: i64,
    /// Whether the baseline was read. An expected one is settled only by a write that succeeds.
    pub(super) from_read: bool,
    /// The row of history to add for the new state, if its content is new.
    pub(super) new_snapshot: Option<Snapshot>,
    /// Rows of history to add before that one: the peer changed more than once.
    pub(super) intermediate: Vec<Snapshot>,
    /// The current snapshot of the baseline, if it was observed again.
    pub(super) extended: Option<Extension>,
    /// Rows of history older than the state, to add where no row covers them, by index.
    pub(super) out_of_order: Vec<(usize, Snapshot)>,
    /// What is saved with the new state, by index.
    pub(super) saved: Vec<(usize, Saved)>,
    /// When it was requested that a saved state be restored to the peer.
    pub(in crate::store) restore_requested_at: Option<Timestamp>,
}

impl PeerWrite {
    /// Applies the peer's reports, those at `indices`, to its baseline, in order.
    pub(super) fn new(
        key: &PeerKey,
        baseline: Baseline,
        reports: &[Box<Report>],
        indices: &[usize],
    ) -> Self {
        let (baseline, from_read) = match baseline {
            Baseline::Read(state) => (state, true),
            Baseline::Expected(state) => (state, false),
        };
        let (mut state, version) = match baseline {
            Some(VersionedState { state, version }) => (Some(state), version),
            None => (None, 0),
        };
        let mut peer_write = Self {
            key: key.clone(),
            new_state: None,
            baseline_snapshot_id: state.as_ref().map(|state| state.snapshot_id),
            version: version + 1,
            from_read,
            new_snapshot: None,
            intermediate: Vec::new(),
            extended: None,
            out_of_order: Vec::new(),
            saved: Vec::new(),
            restore_requested_at: None,
        };
        let mut has_changed = false;
        for &index in indices {
            let (new_state, changed) = peer_write.apply(state.take(), index, &reports[index]);
            has_changed |= changed;
            state = Some(new_state);
        }
        let can_be_restored_to = state.as_ref().is_some_and(PeerState::can_be_restored_to);
        if can_be_restored_to {
            peer_write.restore_requested_at = indices
                .iter()
                .find_map(|&index| reports[index].restore_requested_at());
        }
        if has_changed {
            peer_write.new_state = state;
        }
        peer_write
    }

    /// Applies one report to the state before it, and says whether that changed the state.
    fn apply(
        &mut self,
        state: Option<PeerState>,
        index: usize,
        report: &Report,
    ) -> (PeerState, bool) {
        let before = state
            .as_ref()
            .map(|state| (state.presence.clone(), state.restored));
        let (state, effect) = PeerState::apply(state, report);
        let has_changed = matches!(effect, Effect::Changed | Effect::Extended)
            || before.is_none_or(|(presence, restored)| {
                presence != state.presence || restored != state.restored
            });
        self.record(index, &state, effect, report);
        (state, has_changed)
    }

    /// Records what a report adds to the history.
    fn record(&mut self, index: usize, state: &PeerState, effect: Effect, report: &Report) {
        if effect == Effect::OutOfOrder {
            let snapshot = PeerState::first(&report.observation()).snapshot(&self.key);
            self.out_of_order.push((index, snapshot));
            return;
        }
        let snapshot = state.snapshot(&self.key);
        if effect == Effect::Changed {
            self.intermediate
                .extend(self.new_snapshot.replace(snapshot.clone()));
        } else if effect == Effect::Extended {
            match &mut self.new_snapshot {
                Some(new_snapshot) => *new_snapshot = snapshot.clone(),
                None => {
                    self.extended = Some(Extension {
                        id: state.snapshot_id,
                        first_observed_at: state.first_observed_at,
                        last_observed_at: state.last_observed_at,
                    });
                }
            }
        }
        let changed = effect == Effect::Changed;
        self.saved.push((index, Saved { snapshot, changed }));
    }
}
