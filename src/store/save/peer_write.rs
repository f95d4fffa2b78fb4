//! What a batch of observations makes of what the database holds: pure code between the read and the write.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::domain::{Effect, PeerKey, PeerState, Report, Snapshot, Timestamp};

/// An observation that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The row of history that holds it.
    pub snapshot: Snapshot,
    /// Whether it added that row.
    pub changed: bool,
}

/// A peer's state as the database holds it.
#[derive(Debug, Clone)]
pub(in crate::store) struct Versioned {
    pub(in crate::store) state: PeerState,
    pub(in crate::store) version: i64,
}

/// What a fold starts from.
#[derive(Debug, Clone)]
pub(in crate::store) enum Start {
    /// What was read, or that nothing was there.
    Read(Option<Versioned>),
    /// What is expected, or that nothing is. Only a write can tell.
    Expected(Option<Versioned>),
}

/// A row of history that is seen again, later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Extension {
    pub(in crate::store) id: Uuid,
    pub(in crate::store) first_observed_at: Timestamp,
    pub(in crate::store) last_observed_at: Timestamp,
}

/// What the observations of one peer write.
#[derive(Debug)]
pub(in crate::store) struct Fold {
    pub(in crate::store) key: PeerKey,
    /// The state to write, if it moved.
    pub(in crate::store) moved: Option<PeerState>,
    /// The row of history that was in force before; none of a peer that is new.
    pub(in crate::store) replaces: Option<Uuid>,
    /// The version that the state to write gets: one more than before.
    pub(in crate::store) version: i64,
    /// Whether it starts from what was read. Where it does not, only a write that succeeds settles it.
    pub(in crate::store) is_certain: bool,
    /// The row of history to add for the state to write, if that is a new one.
    pub(in crate::store) added: Option<Snapshot>,
    /// Rows of history to add before that one: the peer changed more than once.
    pub(in crate::store) passed: Vec<Snapshot>,
    /// The row of history that was in force before, if it was seen again.
    pub(in crate::store) extended: Option<Extension>,
    /// Rows of history from before the state, to add where no row covers them; with their places in the batch.
    pub(in crate::store) late: Vec<(usize, Snapshot)>,
    /// The answers, with their places in the batch.
    pub(in crate::store) answers: Vec<(usize, Saved)>,
    /// When it was asked that a state be restored to the peer.
    pub(in crate::store) wants_restore: Option<Timestamp>,
}

/// Folds the reports at `places` of a batch into what is known of their peers, each peer's in order.
///
/// The folds come sorted by peer, so that concurrent batches lock rows in one order.
pub(in crate::store) fn fold(
    reports: &[Box<Report>],
    places: BTreeMap<&PeerKey, Vec<usize>>,
    starts: Vec<Start>,
) -> Vec<Fold> {
    let peers = places.into_iter().zip(starts);
    peers
        .map(|((key, places), start)| fold_peer(key, reports, &places, start))
        .collect()
}

/// The places of each peer in a batch, in order.
pub(in crate::store) fn by_peer<'a>(
    reports: &'a [Box<Report>],
    places: &[usize],
) -> BTreeMap<&'a PeerKey, Vec<usize>> {
    let mut peers: BTreeMap<&PeerKey, Vec<usize>> = BTreeMap::new();
    for &place in places {
        peers.entry(reports[place].key()).or_default().push(place);
    }
    peers
}

fn fold_peer(key: &PeerKey, reports: &[Box<Report>], places: &[usize], start: Start) -> Fold {
    let (before, is_certain) = match start {
        Start::Read(before) => (before, true),
        Start::Expected(before) => (before, false),
    };
    let version = before.as_ref().map_or(0, |before| before.version);
    let mut state = before.map(|before| before.state);
    let mut fold = Fold {
        key: key.clone(),
        moved: None,
        replaces: state.as_ref().map(|state| state.snapshot_id),
        version: version + 1,
        is_certain,
        added: None,
        passed: Vec::new(),
        extended: None,
        late: Vec::new(),
        answers: Vec::new(),
        wants_restore: None,
    };
    let mut moved = false;
    for &place in places {
        let before = state
            .as_ref()
            .map(|state| (state.presence.clone(), state.restored));
        let (after, effect) = PeerState::apply(state.take(), &reports[place]);
        moved |= matches!(effect, Effect::Changed | Effect::Extended)
            || before.is_none_or(|(presence, restored)| {
                presence != after.presence || restored != after.restored
            });
        fold.record(place, &after, effect, &reports[place]);
        state = Some(after);
    }
    let wanted = places
        .iter()
        .find_map(|&place| reports[place].restore_requested_at());
    fold.wants_restore =
        wanted.filter(|_| state.as_ref().is_some_and(PeerState::can_be_restored_to));
    fold.moved = state.filter(|_| moved);
    fold
}

impl Fold {
    fn record(&mut self, place: usize, after: &PeerState, effect: Effect, report: &Report) {
        let snapshot = match effect {
            Effect::OutOfOrder => PeerState::first(&report.observation()).snapshot(&self.key),
            _ => after.snapshot(&self.key),
        };
        match effect {
            Effect::Changed => self.passed.extend(self.added.replace(snapshot.clone())),
            Effect::Extended => match &mut self.added {
                Some(added) => *added = snapshot.clone(),
                None => {
                    self.extended = Some(Extension {
                        id: after.snapshot_id,
                        first_observed_at: after.first_observed_at,
                        last_observed_at: after.last_observed_at,
                    });
                }
            },
            Effect::OutOfOrder => {
                self.late.push((place, snapshot));
                return;
            }
            Effect::Repeated => {}
        }
        self.answers.push((
            place,
            Saved {
                snapshot,
                changed: effect == Effect::Changed,
            },
        ));
    }
}
