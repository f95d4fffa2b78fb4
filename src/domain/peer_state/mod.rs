//! What is known of one peer, and what a report changes of it: the ordering rules.
//!
//! Pure code, no clock and no database. [`crate::store`] applies it between a versioned read and a
//! conditional write, so the outcome is the same through whichever replica. Which of a user's peers
//! a resume returns is an index order in `store::resume`, by [`PeerState::changed_at`].
//!
//! Reports that arrive in order are applied here. [`Effect::OutOfOrder`] says that the peer's rows
//! of history are needed: then [`PeerState::rebuild`] does it.

mod rebuild;

use std::time::Duration;

use uuid::Uuid;

use super::snapshot::snapshot_id;
use super::timeline::agrees;
use super::{
    ChangeId, EndKind, EventKind, Label, Metadata, Observation, PeerKey, Presence, Report,
    RestoreMark, ResumeEntry, Rules, Snapshot, Source, Timestamp, Tracks,
};

/// How exactly looks date the last observation of what stays the same: each look at each peer would
/// else be a write.
const LOOK_PRECISION: Duration = Duration::from_mins(1);

/// What is known of one peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerState {
    /// The current row of history; none while only presence was reported.
    pub current: Option<CurrentRow>,
    /// The last known role.
    pub role: Option<Label>,
    /// The last known tracks.
    pub tracks: Option<Tracks>,
    /// When the peer joined: the latest time that any source named.
    pub joined_at: Option<Timestamp>,
    /// What its join set as metadata, as a digest; none where that was empty or is not known.
    pub join_metadata: Option<Uuid>,
    /// The latest change of its metadata; none while it never had any.
    pub change: Option<Change>,
    /// When that change counts as made. Resume returns the state with the user's latest.
    pub changed_at: Option<Timestamp>,
    /// Whether it is connected.
    pub presence: Presence,
    /// The saved state that was last sent to it.
    pub restored: Option<RestoreMark>,
}

/// The newest row of a peer's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentRow {
    /// Its id.
    pub id: Uuid,
    /// Where its content was first observed.
    pub source: Source,
    /// The exact metadata.
    pub metadata: Metadata,
    /// The display name. Never carried on, so that names that are no longer to be stored are not.
    pub name: Option<Label>,
    /// When its content was first observed.
    pub first_observed_at: Timestamp,
    /// When its content was last observed.
    pub last_observed_at: Timestamp,
    /// When the row before it was last observed; none where it is the first.
    pub preceded_at: Option<Timestamp>,
}

impl CurrentRow {
    /// Whether the row began where a name, a role or tracks became known that this observation of
    /// the same metadata does not mention. Before that, it is a row of its own.
    fn says_more(&self, observation: &Observation, role: Option<&Label>) -> bool {
        let more_name = self.name.is_some() && observation.name.is_none();
        let more_role = role.is_some() && observation.role.is_none();
        let more_tracks = self.source == Source::Peer && observation.tracks.is_none();
        more_name || more_role || more_tracks
    }
}

/// A change of metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Names the change, also once it is dated back or restored to another peer.
    pub id: ChangeId,
    /// When the changed metadata was first observed.
    pub observed_at: Timestamp,
    /// When other metadata was last observed before it.
    pub other_until: Option<Timestamp>,
}

/// What a report does to the history of its peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: it is no observation, or it repeats one.
    None,
    /// A new row, which is the current one now.
    Added,
    /// The current row was observed again: its times differ.
    Extended,
    /// It is older than the newest observation: the rows are to be rebuilt.
    OutOfOrder,
}

impl PeerState {
    /// Applies a report that arrives in order, and says what that does to the history.
    ///
    /// After [`Effect::OutOfOrder`], presence and joins are applied and the rest is left to
    /// [`PeerState::rebuild`].
    pub fn apply(&mut self, report: &Report, rules: &Rules) -> Effect {
        if matches!(report, Report::Looked(observation) if self.just_said(observation)) {
            return Effect::None;
        }
        self.joined_at = self.joined_at.max(report.joined_at());
        match report {
            Report::Observed(_) | Report::Looked(_) => {}
            Report::Restored {
                observation,
                answered_at,
            } => {
                let mark = self.restored.as_mut();
                if let Some(mark) = mark.filter(|mark| mark.change.is_to(&observation.metadata)) {
                    mark.answered_at = mark.answered_at.max(Some(*answered_at));
                }
            }
            Report::Event(event) => {
                self.presence.merge(&event.presence);
                if let Some(digest) = event.join_metadata(rules) {
                    self.join_metadata = self.join_metadata.max(Some(digest));
                }
            }
            Report::Restoring { mark, .. } => {
                if self.restored.is_none_or(|restored| restored.at < mark.at) {
                    self.restored = Some(*mark);
                }
            }
            Report::NotRestored { mark, .. } => {
                if self.restored == Some(*mark) {
                    self.restored = None;
                }
            }
        }
        self.presence.settle(self.joined_at);
        let effect = match self.observation_in(report, rules) {
            Some(_) if self.left_before(report, rules).is_some() => Effect::OutOfOrder,
            Some(observation) => self.observe(&observation, rules),
            None => Effect::None,
        };
        self.date_change(rules);
        effect
    }

    /// Whether the same was observed within [`LOOK_PRECISION`] before, so that this need not be
    /// written.
    fn just_said(&self, observation: &Observation) -> bool {
        let Some(current) = &self.current else {
            return false;
        };
        let at = observation.observed_at;
        self.repeats(current, observation)
            && observation.joined_at <= self.joined_at
            && at >= current.last_observed_at
            && at.since(current.last_observed_at) < LOOK_PRECISION
    }

    /// Whether an observation has the content of the current row, as far as it says anything.
    fn repeats(&self, current: &CurrentRow, observation: &Observation) -> bool {
        observation.metadata == current.metadata
            && agrees(observation.name.as_ref(), current.name.as_ref())
            && agrees(observation.role.as_ref(), self.role.as_ref())
            && agrees(observation.tracks.as_ref(), self.tracks.as_ref())
    }

    /// Whether a saved state may be restored to this peer: it is connected, and never had metadata
    /// of its own.
    pub fn accepts_restore(&self) -> bool {
        self.change.is_none() && self.restored.is_none() && self.presence.ended.is_none()
    }

    /// The current row, as history shows it. It repeats what its source did not say of the role,
    /// but not the tracks, which only the peer endpoint knows.
    pub fn snapshot(&self, key: &PeerKey) -> Option<Snapshot> {
        let current = self.current.as_ref()?;
        Some(Snapshot {
            id: current.id,
            key: key.clone(),
            name: current.name.clone(),
            role: self.role.clone(),
            metadata: current.metadata.clone(),
            tracks: self
                .tracks
                .clone()
                .filter(|_| current.source == Source::Peer),
            joined_at: self.joined_at,
            first_observed_at: current.first_observed_at,
            last_observed_at: current.last_observed_at,
            source: current.source,
        })
    }

    /// What decides whether a resume returns it; none while its metadata never changed.
    pub fn resume_entry(&self) -> Option<ResumeEntry> {
        Some(ResumeEntry {
            change: self.change?.id,
            changed_at: self.changed_at?,
            restored_at: self.restored.map(|mark| mark.at),
            joined_at: self.joined_at,
        })
    }

    /// Whether its latest change is one that was restored to it.
    pub fn is_restored(&self) -> bool {
        let restored = self.restored.map(|mark| mark.change);
        restored.is_some() && restored == self.change.map(|change| change.id)
    }

    /// The latest time that is known of the peer; none while nothing is.
    pub fn latest_report_at(&self) -> Option<Timestamp> {
        let ended_at = self.presence.ended.as_ref().map(|end| end.at);
        let observed_at = self
            .current
            .as_ref()
            .map(|current| current.last_observed_at);
        let restored_at = self.restored.map(|mark| mark.at);
        [
            ended_at,
            observed_at,
            restored_at,
            self.joined_at,
            self.presence.connected_since,
        ]
        .into_iter()
        .max()
        .flatten()
    }

    /// The observation of metadata in a report; none where it says nothing that counts.
    fn observation_in(&self, report: &Report, rules: &Rules) -> Option<Observation> {
        let observation = report.observation()?;
        if let Report::Event(event) = report
            && event.kind == EventKind::Leave
            && rules.leave_metadata_is_ignored(&observation.metadata, self.join_metadata)
        {
            return None;
        }
        let Observation {
            metadata,
            observed_at,
            ..
        } = &*observation;
        let is_overtaken = self.is_overtaken_by_restore(metadata, *observed_at, rules);
        (!is_overtaken).then(|| observation.into_owned())
    }

    /// Whether the peer only seemed empty then, since the answer was overtaken by a restore.
    fn is_overtaken_by_restore(&self, metadata: &Metadata, at: Timestamp, rules: &Rules) -> bool {
        let Some(RestoreMark {
            at: sent_at,
            answered_at: Some(answered_at),
            ..
        }) = self.restored
        else {
            return false;
        };
        rules.is_empty(metadata) && (sent_at..=answered_at).contains(&at)
    }

    fn observe(&mut self, observation: &Observation, rules: &Rules) -> Effect {
        let known = self.current.as_ref();
        let same = known.is_some_and(|current| self.repeats(current, observation));
        let Some(current) = &mut self.current else {
            self.begin(observation, rules);
            return Effect::Added;
        };
        let at = observation.observed_at;
        if !same {
            let rank = rank(
                &current.metadata,
                current.name.as_ref(),
                self.role.as_ref(),
                self.tracks.as_ref(),
            );
            if is_before((at, observation.rank()), (current.last_observed_at, rank)) {
                return Effect::OutOfOrder;
            }
            self.begin(observation, rules);
            return Effect::Added;
        }
        let (first, last) = (current.first_observed_at, current.last_observed_at);
        if at < first && current.says_more(observation, self.role.as_ref()) {
            return Effect::OutOfOrder;
        }
        if at < first {
            if current
                .preceded_at
                .is_some_and(|preceded_at| at <= preceded_at)
            {
                return Effect::OutOfOrder;
            }
            current.first_observed_at = at;
            if let Some(change) = &mut self.change
                && change.observed_at == first
            {
                change.observed_at = at;
            }
        }
        current.last_observed_at = last.max(at);
        if at == first || at == last {
            Effect::None
        } else {
            Effect::Extended
        }
    }

    /// Begins a new row with an observation that is newer than all before it.
    fn begin(&mut self, observation: &Observation, rules: &Rules) {
        let at = observation.observed_at;
        let before = self.current.take();
        let no_metadata = Metadata::NONE;
        let known = before
            .as_ref()
            .map_or(&no_metadata, |current| &current.metadata);
        if rules.differ(known, &observation.metadata) {
            let other_until = before.as_ref().map(|current| current.last_observed_at);
            self.change = Some(self.change_to(observation, at, other_until));
        }
        self.role = observation.role.clone().or(self.role.take());
        self.tracks = observation.tracks.clone().or(self.tracks.take());
        self.current = Some(CurrentRow {
            id: snapshot_id(observation),
            source: observation.source,
            metadata: observation.metadata.clone(),
            name: observation.name.clone(),
            first_observed_at: at,
            last_observed_at: at,
            preceded_at: before.map(|current| current.last_observed_at),
        });
    }

    /// The change to the metadata of this observation: a new one, unless it is what was restored to
    /// a peer that has had no change of its own since. That change only moves here.
    fn change_to(
        &self,
        observation: &Observation,
        at: Timestamp,
        other_until: Option<Timestamp>,
    ) -> Change {
        let (user_id, metadata) = (&observation.key.user_id, &observation.metadata);
        let restored = self.restored.filter(|mark| {
            mark.change.is_to(metadata)
                && self
                    .change
                    .is_none_or(|change| change.observed_at < mark.at)
        });
        let id = restored.map_or_else(|| ChangeId::new(user_id, at, metadata), |mark| mark.change);
        Change {
            id,
            observed_at: at,
            other_until,
        }
    }

    /// Dates the change: as observed, unless it is a restored one or the peer was a ghost by then.
    fn date_change(&mut self, rules: &Rules) {
        let Some(change) = self.change else {
            self.changed_at = None;
            return;
        };
        self.changed_at = Some(match (self.restored, &self.presence.ended) {
            (Some(mark), _) if mark.change == change.id => mark.changed_at,
            (_, Some(end)) if end.kind == EndKind::Dropped => {
                let joined_at = self.joined_at.max(self.presence.connected_since);
                let earliest = joined_at.max(change.other_until);
                let ghost_since = rules.ghost_since(end.at);
                ghost_since
                    .max(earliest.unwrap_or(ghost_since))
                    .min(change.observed_at)
            }
            _ => change.observed_at,
        });
    }
}

/// The order of observations of one instant. Empty metadata comes first, so that it never clears
/// what was set at the same time; and of the same metadata, what mentions more, which the others
/// then repeat.
pub(super) type Rank<'a> = (bool, Option<&'a str>, [(bool, Option<&'a str>); 3]);

/// Whether the one observation comes before the other, of other content.
fn is_before(one: (Timestamp, Rank<'_>), other: (Timestamp, Rank<'_>)) -> bool {
    one < other
}

pub(super) fn rank<'a>(
    metadata: &'a Metadata,
    name: Option<&'a Label>,
    role: Option<&'a Label>,
    tracks: Option<&'a Tracks>,
) -> Rank<'a> {
    let others = [
        name.map(Label::as_str),
        role.map(Label::as_str),
        tracks.map(Tracks::as_str),
    ];
    let others = others.map(|other| (other.is_none(), other));
    (!metadata.is_empty(), metadata.raw(), others)
}

#[cfg(test)]
mod tests;
