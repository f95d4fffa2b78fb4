//! Reports that arrive out of order: the rows of the peer are rebuilt, and the peer takes over what
//! they say.

use super::PeerState;
use crate::domain::timeline::{self, Row, RowChanges};
use crate::domain::{Change, Observation, PeerKey, Report, Rules, Timestamp};

impl PeerState {
    /// Applies the report to the peer's rows of history, sorted by first time, and says what to
    /// write. `complete`: there are no older rows than these.
    ///
    /// The report was applied before with [`Effect::OutOfOrder`](super::Effect::OutOfOrder).
    pub fn rebuild(
        &mut self,
        key: &PeerKey,
        stored: &[Row],
        complete: bool,
        report: &Report,
        rules: &Rules,
    ) -> RowChanges {
        let Some(observation) = self.observation_in(report, rules) else {
            return RowChanges::default();
        };
        let left_at = self.left_before(report, rules);
        let rebuilt = timeline::rebuild(stored, &observation, |metadata, at| {
            let repeats_join = left_at == Some(at) && *metadata == observation.metadata;
            repeats_join || self.is_overtaken_by_restore(metadata, at, rules)
        });
        self.adopt(key, &rebuilt, complete, rules);
        self.date_change(rules);
        RowChanges::between(stored, &rebuilt)
    }

    /// How many of these rows, sorted by first time, lie before a gap in its history: old rows were
    /// deleted that it knows of. None: there is no gap.
    pub fn rows_before_gap(&self, rows: &[Row]) -> Option<usize> {
        let current = self.current.as_ref()?;
        if !rows.iter().any(|row| row.snapshot.id == current.id) {
            return Some(rows.len());
        }
        let change = self.change.as_ref();
        let known_times = [
            current.preceded_at,
            change.map(|change| change.observed_at),
            change.and_then(|change| change.other_until),
        ];
        let is_missing = |at: &Timestamp| {
            let mut rows = rows.iter().map(|row| &row.snapshot);
            !rows.any(|row| (row.first_observed_at..=row.last_observed_at).contains(at))
        };
        let gap = known_times.into_iter().flatten().filter(is_missing).max()?;
        Some(rows.partition_point(|row| row.snapshot.first_observed_at < gap))
    }

    /// When the peer left, where this join arrives after its leave. If the leave said what the join
    /// says, it replaces nothing, and is taken out of the rows again.
    pub(super) fn left_before(&self, report: &Report, rules: &Rules) -> Option<Timestamp> {
        let Report::Event(event) = report else {
            return None;
        };
        let ended = self.presence.ended.as_ref()?;
        let is_late = event.join_metadata(rules).is_some() && event.at < ended.at;
        is_late.then_some(ended.at)
    }

    /// Takes over what rebuilt rows say.
    fn adopt(&mut self, key: &PeerKey, rows: &[Row], complete: bool, rules: &Rules) {
        let Some(newest) = rows.last() else { return };
        let before = self.clone();
        let mut replayed = Self {
            restored: self.restored,
            ..Self::default()
        };
        for row in rows {
            let Row { snapshot, .. } = row;
            let observation = Observation {
                key: key.clone(),
                observed_at: snapshot.first_observed_at,
                source: snapshot.source,
                metadata: snapshot.metadata.clone(),
                name: snapshot.name.clone(),
                role: snapshot.role.clone(),
                tracks: snapshot.tracks.clone(),
                joined_at: snapshot.joined_at,
            };
            replayed.begin(&observation, rules);
            if let Some(current) = &mut replayed.current {
                current.last_observed_at = snapshot.last_observed_at;
            }
        }
        let Some(current) = &mut replayed.current else {
            return;
        };
        current.id = newest.snapshot.id;
        let first_row_is_current = rows.len() == 1;
        if !complete && first_row_is_current {
            current.preceded_at = before
                .current
                .as_ref()
                .and_then(|current| current.preceded_at);
        }
        let same_metadata = before
            .current
            .as_ref()
            .is_some_and(|known| known.metadata == current.metadata);
        let oldest_first = rows[0].snapshot.first_observed_at;
        self.change = match (replayed.change, before.change) {
            // The change is older than the rows that were read.
            (Some(replayed), Some(known))
                if !complete && same_metadata && replayed.observed_at == oldest_first =>
            {
                Some(known)
            }
            (Some(replayed), Some(known)) if same_metadata => Some(Change {
                id: known.id,
                ..replayed
            }),
            (None, known) if !complete => known,
            (replayed, _) => replayed,
        };
        self.role = replayed.role.or(before.role);
        self.tracks = replayed.tracks.or(before.tracks);
        self.current = replayed.current;
    }
}
