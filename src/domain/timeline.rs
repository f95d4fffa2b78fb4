//! The timeline of one peer: its rows of history, rebuilt when an observation arrives out of order.
//!
//! The specification is one fold: all observations sorted by time, equal neighbours joined into a
//! row. A stored row stands for the observations that made it: its first, its last, and the newest
//! [`MAX_REPEATS`] between them. Rebuilding sorts those together with the new one and folds again,
//! so the rows do not depend on the order of arrival.

use uuid::Uuid;

use super::snapshot::snapshot_id;
use super::{Label, Metadata, Observation, PeerKey, Snapshot, Source, Timestamp, Tracks};

/// How many times between its first and its last observation a row remembers.
pub const MAX_REPEATS: usize = 32;

/// A row of history with the times at which its content was observed again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The row.
    pub snapshot: Snapshot,
    /// Times between its first and its last observation, in order, the newest [`MAX_REPEATS`].
    pub repeats: Vec<Timestamp>,
}

impl Row {
    /// A row that was observed once, or of whose repeats nothing is known.
    pub fn new(snapshot: Snapshot) -> Self {
        Self {
            snapshot,
            repeats: Vec::new(),
        }
    }

    /// Takes over the times of its snapshot as it is now, and adds times at which it was observed.
    pub fn observe_again(
        &mut self,
        snapshot: &Snapshot,
        times: impl IntoIterator<Item = Timestamp>,
    ) {
        self.snapshot.first_observed_at = snapshot.first_observed_at;
        self.snapshot.last_observed_at = snapshot.last_observed_at;
        self.snapshot.joined_at = snapshot.joined_at;
        self.repeats.extend(times);
        self.repeats.sort_unstable();
        self.repeats.dedup();
        let (first, last) = (snapshot.first_observed_at, snapshot.last_observed_at);
        self.repeats.retain(|at| first < *at && *at < last);
        let excess = self.repeats.len().saturating_sub(MAX_REPEATS);
        self.repeats.drain(..excess);
    }
}

/// What to write so that the stored rows become the rebuilt ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowChanges {
    /// Rows to add.
    pub added: Vec<Row>,
    /// Rows whose times differ, each with the first time under which it is stored.
    pub updated: Vec<(Timestamp, Row)>,
    /// Rows to remove: first time and id.
    pub removed: Vec<(Timestamp, Uuid)>,
}

/// One observation, or one that a stored row stands for.
struct Sample<'a> {
    at: Timestamp,
    content: Content<'a>,
    /// The stored row.
    row: Option<usize>,
}

/// What an observation says.
#[derive(Clone, Copy)]
struct Content<'a> {
    source: Source,
    metadata: &'a Metadata,
    name: Option<&'a Label>,
    role: Option<&'a Label>,
    tracks: Option<&'a Tracks>,
    joined_at: Option<Timestamp>,
}

impl<'a> Content<'a> {
    fn of_row(row: &'a Snapshot) -> Self {
        Self {
            source: row.source,
            metadata: &row.metadata,
            name: row.name.as_ref(),
            role: row.role.as_ref(),
            tracks: row.tracks.as_ref(),
            joined_at: row.joined_at,
        }
    }

    fn of_observation(observation: &'a Observation) -> Self {
        Self {
            source: observation.source,
            metadata: &observation.metadata,
            name: observation.name.as_ref(),
            role: observation.role.as_ref(),
            tracks: observation.tracks.as_ref(),
            joined_at: observation.joined_at,
        }
    }

    fn rank(&self) -> super::peer_state::Rank<'a> {
        super::peer_state::rank(self.metadata, self.name, self.role, self.tracks)
    }
}

/// Whether what is observed says nothing that is not known. What it does not mention cannot differ.
pub(super) fn agrees<T: PartialEq>(observed: Option<&T>, known: Option<&T>) -> bool {
    observed.is_none() || observed == known
}

/// The rows after an observation that is not the newest of its peer.
///
/// `stored` is sorted by first time. What `is_withdrawn` says of stored metadata and a time at which
/// it was observed is left out.
pub(super) fn rebuild(
    stored: &[Row],
    observation: &Observation,
    is_withdrawn: impl Fn(&Metadata, Timestamp) -> bool,
) -> Vec<Row> {
    let mut samples: Vec<Sample<'_>> = Vec::new();
    for (index, row) in stored.iter().enumerate() {
        let content = Content::of_row(&row.snapshot);
        let ends = [
            row.snapshot.first_observed_at,
            row.snapshot.last_observed_at,
        ];
        let times = ends.into_iter().chain(row.repeats.iter().copied());
        let times = times.filter(|at| !is_withdrawn(&row.snapshot.metadata, *at));
        samples.extend(times.map(|at| Sample {
            at,
            content,
            row: Some(index),
        }));
    }
    samples.push(Sample {
        at: observation.observed_at,
        content: Content::of_observation(observation),
        row: None,
    });
    samples.sort_by(|a, b| (a.at, a.content.rank()).cmp(&(b.at, b.content.rank())));
    Folding::default().fold(&observation.key, stored, &samples)
}

#[derive(Default)]
struct Folding {
    rows: Vec<Row>,
    /// Whether the id of a row is one that is stored already.
    has_stored_id: Vec<bool>,
    used: Vec<Uuid>,
    role: Option<Label>,
    tracks: Option<Tracks>,
}

impl Folding {
    fn fold(mut self, key: &PeerKey, stored: &[Row], samples: &[Sample<'_>]) -> Vec<Row> {
        for sample in samples {
            let stored_id = sample.row.map(|index| stored[index].snapshot.id);
            if self.continues_row(&sample.content) {
                self.extend(sample, stored_id);
            } else {
                self.begin(key, stored, sample, stored_id);
            }
            let Content { role, tracks, .. } = sample.content;
            self.role = role.cloned().or(self.role.take());
            self.tracks = tracks.cloned().or(self.tracks.take());
        }
        for row in &mut self.rows {
            let excess = row.repeats.len().saturating_sub(MAX_REPEATS);
            row.repeats.drain(..excess);
        }
        self.rows
    }

    fn continues_row(&self, content: &Content<'_>) -> bool {
        self.rows.last().is_some_and(|row| {
            *content.metadata == row.snapshot.metadata
                && agrees(content.name, row.snapshot.name.as_ref())
                && agrees(content.role, self.role.as_ref())
                && agrees(content.tracks, self.tracks.as_ref())
        })
    }

    fn extend(&mut self, sample: &Sample<'_>, stored_id: Option<Uuid>) {
        let (Some(row), Some(has_stored_id)) =
            (self.rows.last_mut(), self.has_stored_id.last_mut())
        else {
            return;
        };
        let snapshot = &mut row.snapshot;
        if sample.at > snapshot.last_observed_at {
            if snapshot.last_observed_at > snapshot.first_observed_at {
                row.repeats.push(snapshot.last_observed_at);
            }
            snapshot.last_observed_at = sample.at;
        }
        snapshot.joined_at = snapshot.joined_at.or(sample.content.joined_at);
        if let Some(id) = stored_id.filter(|id| !*has_stored_id && !self.used.contains(id)) {
            // The stored row begins earlier now. It stays the same row.
            snapshot.id = id;
            *has_stored_id = true;
            self.used.push(id);
        }
    }

    /// The id of the row that this observation begins. A row that was moved back may have it already.
    fn new_id(stored: &[Row], observation: &Observation) -> Uuid {
        let first = snapshot_id(observation).as_u128();
        let is_stored = |id: &Uuid| stored.iter().any(|row| row.snapshot.id == *id);
        (0..)
            .take(stored.len() + 1)
            .map(|offset| Uuid::from_u128(first.wrapping_add(offset)))
            .find(|id| !is_stored(id))
            .expect("there are more of these ids than stored rows")
    }

    fn begin(
        &mut self,
        key: &PeerKey,
        stored: &[Row],
        sample: &Sample<'_>,
        stored_id: Option<Uuid>,
    ) {
        let content = sample.content;
        let stored_id = stored_id.filter(|id| !self.used.contains(id));
        let role = content.role.cloned().or_else(|| self.role.clone());
        let observation = Observation {
            key: key.clone(),
            observed_at: sample.at,
            source: content.source,
            metadata: content.metadata.clone(),
            name: content.name.cloned(),
            role: content.role.cloned(),
            tracks: content.tracks.cloned(),
            joined_at: content.joined_at,
        };
        let id = stored_id.unwrap_or_else(|| Self::new_id(stored, &observation));
        self.used.push(id);
        self.has_stored_id.push(stored_id.is_some());
        self.rows.push(Row {
            snapshot: Snapshot {
                id,
                key: observation.key,
                name: observation.name,
                role,
                metadata: observation.metadata,
                tracks: observation.tracks,
                joined_at: observation.joined_at,
                first_observed_at: sample.at,
                last_observed_at: sample.at,
                source: content.source,
            },
            repeats: Vec::new(),
        });
    }
}

impl RowChanges {
    /// The difference between the stored rows and the rebuilt ones.
    pub fn between(stored: &[Row], rebuilt: &[Row]) -> Self {
        let mut changes = Self::default();
        for row in rebuilt {
            match stored
                .iter()
                .find(|stored| stored.snapshot.id == row.snapshot.id)
            {
                None => changes.added.push(row.clone()),
                Some(stored) if stored == row => {}
                Some(stored) => changes
                    .updated
                    .push((stored.snapshot.first_observed_at, row.clone())),
            }
        }
        for row in stored {
            if !rebuilt
                .iter()
                .any(|rebuilt| rebuilt.snapshot.id == row.snapshot.id)
            {
                changes
                    .removed
                    .push((row.snapshot.first_observed_at, row.snapshot.id));
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{PeerId, RoomId, UserId};

    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_800_000_000 + second, 0)
            .unwrap()
            .into()
    }

    fn seconds(times: &[Timestamp]) -> Vec<i64> {
        let since = |time: &Timestamp| time.to_utc().timestamp() - 1_800_000_000;
        times.iter().map(since).collect()
    }

    fn observation(second: i64, metadata: &str) -> Observation {
        let key = PeerKey::new(
            UserId::parse("player-7").unwrap(),
            RoomId::parse("room").unwrap(),
            PeerId::parse("peer").unwrap(),
        );
        Observation {
            tracks: Tracks::from_wire("{}"),
            ..Observation::new(
                key.unwrap(),
                at(second),
                Source::Peer,
                Metadata::from_text(metadata),
            )
        }
    }

    /// The row of this metadata, first and last observed then.
    fn row(metadata: &str, first: i64, last: i64) -> Row {
        let mut row = Row::new(Snapshot::first(&observation(first, metadata)));
        row.snapshot.last_observed_at = at(last);
        row
    }

    fn id(row: &Row) -> Uuid {
        row.snapshot.id
    }

    /// The rows that an observation leaves, and what is written of them.
    fn rebuilt(stored: &[Row], second: i64, metadata: &str) -> (Vec<Row>, RowChanges) {
        let rows = rebuild(stored, &observation(second, metadata), |_, _| false);
        let changes = RowChanges::between(stored, &rows);
        (rows, changes)
    }

    #[test]
    fn a_row_remembers_the_newest_times_between_its_first_and_its_last() {
        let mut stored = row("a", 10, 20);
        let mut snapshot = row("a", 5, 100).snapshot;
        snapshot.joined_at = Some(at(1));
        stored.observe_again(&snapshot, [20, 5, 100, 10, 20, 4, 101].map(at));
        assert_eq!(stored.snapshot.first_observed_at, at(5));
        assert_eq!(stored.snapshot.last_observed_at, at(100));
        assert_eq!(stored.snapshot.joined_at, Some(at(1)));
        assert_eq!(seconds(&stored.repeats), [10, 20]);
        stored.observe_again(&snapshot, (30..70).map(at));
        assert_eq!(seconds(&stored.repeats), (38..70).collect::<Vec<_>>());
    }

    #[test]
    fn a_row_that_begins_earlier_or_takes_in_the_next_stays_the_same_row() {
        let stored = [row("a", 20, 30)];
        let (rows, changes) = rebuilt(&stored, 10, "a");
        assert_eq!((rows.len(), id(&rows[0])), (1, id(&stored[0])));
        assert_eq!(changes.updated, [(at(20), rows[0].clone())]);
        assert_eq!((changes.added.len(), changes.removed.len()), (0, 0));

        let stored = [row("a", 10, 10), row("", 12, 12), row("a", 14, 14)];
        let is_empty = |metadata: &Metadata, _| metadata.is_empty();
        let rows = rebuild(&stored, &observation(11, "a"), is_empty);
        let changes = RowChanges::between(&stored, &rows);
        assert_eq!((rows.len(), id(&rows[0])), (1, id(&stored[0])));
        let removed = [(at(12), id(&stored[1])), (at(14), id(&stored[2]))];
        assert_eq!(changes.removed, removed);
    }

    #[test]
    fn a_split_row_gives_its_later_part_an_id_of_its_own() {
        // It was observed at 20 first, so the later part begins with the observation it is named by.
        let mut first = row("a", 20, 20);
        first.snapshot.first_observed_at = at(10);
        let stored = [first];
        let (rows, changes) = rebuilt(&stored, 15, "b");
        assert_eq!(rows.len(), 3);
        assert_eq!(id(&rows[0]), id(&stored[0]));
        assert_eq!(id(&rows[1]), snapshot_id(&observation(15, "b")));
        assert_ne!(id(&rows[2]), id(&stored[0]));
        assert_eq!(changes.updated, [(at(10), rows[0].clone())]);
        assert_eq!(changes.added, rows[1..]);
        let contents = rows.iter().map(|row| row.snapshot.tracks.as_ref());
        assert!(contents.clone().all(|tracks| tracks.is_some()));
    }

    #[test]
    fn of_one_instant_the_empty_observation_comes_first() {
        let (rows, _) = rebuilt(&[row("a", 10, 10)], 10, "");
        let metadata = rows.iter().map(|row| row.snapshot.metadata.raw());
        assert_eq!(metadata.collect::<Vec<_>>(), [Some(""), Some("a")]);
    }

    #[test]
    fn what_is_stored_already_is_not_written_again() {
        let stored = [row("a", 10, 20), row("b", 30, 30)];
        let (rows, changes) = rebuilt(&stored, 20, "a");
        assert_eq!(rows, stored);
        assert_eq!(changes, RowChanges::default());
        let (_, changes) = rebuilt(&stored, 15, "a");
        assert_eq!(changes.updated.len(), 1);
    }
}
