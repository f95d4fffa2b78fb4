//! What a batch writes of one peer: pure code between the read and the write.

use super::align::change_to_align;
use super::baseline::{Baseline, VersionedState};
use crate::domain::{
    ChangeId, DroppedPeer, Effect, End, OwnEvent, PeerKey, PeerState, Report, ResumeEntry, Row,
    Rules, Snapshot, Timestamp, WatchRequest, WrittenPeer,
};

/// An observation that was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The row of history that holds it.
    pub snapshot: Snapshot,
    /// Whether it added that row.
    pub changed: bool,
}

impl Saved {
    /// The answer for a report that is stored nowhere, since all of its time is settled.
    pub(super) fn nowhere(report: &Report) -> Option<Self> {
        let observation = report.observation()?;
        Some(Self {
            snapshot: Snapshot::first(&observation),
            changed: false,
        })
    }

    /// The answer for a report of a peer that was erased: as if it had been saved just before, so
    /// that nothing of it is left.
    pub(super) fn just_before_erasure(report: &Report) -> Option<Self> {
        let observation = report.observation()?;
        Some(Self {
            snapshot: Snapshot::first(&observation),
            changed: true,
        })
    }
}

/// The current row of a baseline, whose content was observed again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Extension {
    /// The first time under which it is stored.
    pub(super) stored_at: Timestamp,
    /// The row as it is now; its repeats are those to add.
    pub(super) row: Row,
}

/// What the reports of one peer write.
#[derive(Debug)]
pub(in crate::store) struct PeerWrite {
    pub(in crate::store) key: PeerKey,
    /// The state to write; none where nothing of it changed.
    pub(super) new_state: Option<PeerState>,
    /// The version of the baseline; none of a peer that is new.
    pub(super) baseline_version: Option<i64>,
    /// The version of the new state. It is random, so that no two writes have the same, also after
    /// a failover that lost some.
    pub(super) version: i64,
    /// Whether the baseline was read. An expected one is settled only by a write that succeeds.
    pub(super) from_read: bool,
    /// The row of history to add for the new state, if its content is new.
    pub(super) new_row: Option<Row>,
    /// Rows of history to add before that one: the peer changed more than once.
    pub(super) intermediate: Vec<Row>,
    /// The current row of the baseline, if it was observed again.
    pub(super) extended: Option<Extension>,
    /// The indices of reports that arrived out of order: the rows of the peer are to be rebuilt.
    pub(super) out_of_order: Vec<usize>,
    /// What is saved with the new state, by index; none where nothing was observed.
    pub(super) saved: Vec<(usize, Option<Saved>)>,
    /// The change whose date may differ between the user's peers after this write.
    pub(super) change_to_align: Option<ChangeId>,
    /// What decided before whether a resume returns the peer.
    pub(super) resume_entry_before: Option<ResumeEntry>,
    /// The drops that are saved with the new state, by the index of their report.
    pub(super) drops: Vec<(usize, OwnEvent)>,
    /// When it was requested that a saved state be restored to the peer.
    pub(in crate::store) restore_requested_at: Option<Timestamp>,
    /// What its events ask of watches.
    pub(in crate::store) watch_requests: Vec<WatchRequest>,
}

impl PeerWrite {
    /// Applies the peer's reports, those at `indices`, to its baseline, in order.
    pub(super) fn new(
        key: &PeerKey,
        baseline: Baseline,
        reports: &[&Report],
        indices: &[usize],
        rules: &Rules,
    ) -> Self {
        let (baseline, from_read) = match baseline {
            Baseline::Read(state) => (state, true),
            Baseline::Expected(state) => (state, false),
        };
        let (before, baseline_version) = match baseline {
            Some(VersionedState { state, version }) => (state, Some(version)),
            None => (PeerState::default(), None),
        };
        let mut peer_write = Self {
            key: key.clone(),
            new_state: None,
            baseline_version,
            version: new_version(),
            from_read,
            new_row: None,
            intermediate: Vec::new(),
            extended: None,
            out_of_order: Vec::new(),
            saved: Vec::new(),
            change_to_align: None,
            resume_entry_before: before.resume_entry(),
            drops: Vec::new(),
            restore_requested_at: None,
            watch_requests: Vec::new(),
        };
        let mut state = before.clone();
        for &index in indices {
            peer_write.apply(&mut state, index, reports[index], rules);
        }
        if state.accepts_restore() {
            peer_write.restore_requested_at = indices
                .iter()
                .find_map(|&index| reports[index].restore_requested_at());
        }
        let requests = indices
            .iter()
            .filter_map(|&index| reports[index].watch_request());
        peer_write.watch_requests.extend(requests);
        peer_write.change_to_align = change_to_align(&before, &state);
        if state != before || peer_write.extended.is_some() || baseline_version.is_none() {
            peer_write.new_state = Some(state);
        }
        peer_write
    }

    /// Applies one report to the state before it.
    fn apply(&mut self, state: &mut PeerState, index: usize, report: &Report, rules: &Rules) {
        let before = state.snapshot(&self.key);
        let presence = state.presence.clone();
        let effect = state.apply(report, rules);
        let snapshot = state.snapshot(&self.key);
        let drop = state.presence.new_drop(&presence, state.joined_at);
        self.drops
            .extend(drop.map(|end| (index, self.dropped(state, end))));
        match (effect, &snapshot) {
            (Effect::OutOfOrder, _) => {
                self.out_of_order.push(index);
                return;
            }
            (Effect::Added, Some(snapshot)) => {
                let row = Row::new(snapshot.clone());
                self.intermediate.extend(self.new_row.replace(row));
            }
            (Effect::Extended, Some(snapshot)) => {
                self.extend(before.as_ref(), snapshot, report);
            }
            (Effect::None, _) | (_, None) => {}
        }
        let changed = effect == Effect::Added;
        // What is no observation of its own is answered with what is known, or as it came.
        let snapshot = snapshot.or_else(|| Some(Snapshot::first(&*report.observation()?)));
        let saved = snapshot.map(|snapshot| Saved { snapshot, changed });
        self.saved.push((index, saved));
    }

    /// The event of a drop that is saved with this state.
    fn dropped(&self, state: &PeerState, end: &End) -> OwnEvent {
        let current = state.current.as_ref();
        OwnEvent::Dropped(DroppedPeer {
            key: self.key.clone(),
            joined_at: state.joined_at.max(state.presence.connected_since),
            end: end.clone(),
            snapshot: current.map(|current| (current.id, current.metadata.clone())),
        })
    }

    /// Whether a resume of the user may return another state after this write.
    pub(in crate::store) fn may_change_resume(&self) -> bool {
        let new_state = self.new_state.as_ref();
        self.change_to_align.is_some()
            || new_state.is_some_and(|state| state.resume_entry() != self.resume_entry_before)
    }

    /// What tells a new state of the user from one that is announced.
    pub(in crate::store) fn written_peer(&self) -> WrittenPeer<'_> {
        let new_state = self.new_state.as_ref();
        WrittenPeer {
            key: &self.key,
            before: self.resume_entry_before,
            is_restored: new_state.is_some_and(PeerState::is_restored),
        }
    }

    /// Records that the current row was observed again.
    fn extend(&mut self, before: Option<&Snapshot>, snapshot: &Snapshot, report: &Report) {
        let Some(before) = before else { return };
        let observed_at = report
            .observation()
            .map(|observation| observation.observed_at);
        let times = [before.first_observed_at, before.last_observed_at]
            .into_iter()
            .chain(observed_at);
        let row = match (&mut self.new_row, &mut self.extended) {
            (Some(row), _) => row,
            (None, Some(extension)) => &mut extension.row,
            (None, extended @ None) => {
                let row = Row::new(snapshot.clone());
                let stored_at = before.first_observed_at;
                &mut extended.insert(Extension { stored_at, row }).row
            }
        };
        row.observe_again(snapshot, times);
    }
}

/// A number that no other write has.
pub(super) fn new_version() -> i64 {
    // Positive, and far from the end: the previous version of the service adds one.
    rand::random_range(1..i64::MAX / 2)
}
