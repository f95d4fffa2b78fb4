//! The rules of one peer: what its tests share.

mod cases;
mod known;
mod order;
mod rebuilt;
mod reference;

use super::*;
use crate::domain::{End, EventReport, PeerId, RoomId, Row, UserId};

fn at(second: i64) -> Timestamp {
    chrono::DateTime::from_timestamp(1_800_000_000 + second, 0)
        .unwrap()
        .into()
}

fn key() -> PeerKey {
    PeerKey::new(
        UserId::parse("player-7").unwrap(),
        RoomId::parse("room").unwrap(),
        PeerId::parse("peer").unwrap(),
    )
    .unwrap()
}

/// What is stored of one peer, as the store writes it.
#[derive(Default)]
struct Stored {
    state: PeerState,
    rows: Vec<Row>,
}

impl Stored {
    fn apply(&mut self, report: &Report, rules: &Rules) {
        let before = self.state.current.clone();
        match self.state.apply(report, rules) {
            Effect::None => {}
            Effect::Added => self.rows.push(Row {
                snapshot: self.state.snapshot(&key()).unwrap(),
                repeats: Vec::new(),
            }),
            Effect::Extended => {
                let (before, row) = (before.unwrap(), self.rows.last_mut().unwrap());
                let observed = report.observation().unwrap().observed_at;
                let current = self.state.current.as_ref().unwrap();
                row.snapshot.first_observed_at = current.first_observed_at;
                row.snapshot.last_observed_at = current.last_observed_at;
                row.repeats
                    .extend([before.first_observed_at, before.last_observed_at, observed]);
                row.repeats.sort();
                row.repeats.dedup();
                let (first, last) = (current.first_observed_at, current.last_observed_at);
                row.repeats.retain(|at| *at > first && *at < last);
            }
            Effect::OutOfOrder => {
                let changes = self.state.rebuild(&key(), &self.rows, true, report, rules);
                for (first, id) in changes.removed {
                    let position = self
                        .rows
                        .iter()
                        .position(|row| row.snapshot.id == id)
                        .unwrap();
                    assert_eq!(self.rows.remove(position).snapshot.first_observed_at, first);
                }
                for (first, row) in changes.updated {
                    let stored = self
                        .rows
                        .iter_mut()
                        .find(|stored| stored.snapshot.id == row.snapshot.id)
                        .unwrap();
                    assert_eq!(stored.snapshot.first_observed_at, first);
                    *stored = row;
                }
                self.rows.extend(changes.added);
                self.rows.sort_by_key(|row| {
                    let Snapshot { metadata, role, .. } = &row.snapshot;
                    let tracks = row.snapshot.tracks.is_none();
                    let content = (!metadata.is_empty(), metadata.clone(), role.clone(), tracks);
                    let times = (
                        row.snapshot.first_observed_at,
                        row.snapshot.last_observed_at,
                    );
                    (times, content)
                });
            }
        }
    }

    fn after(reports: impl IntoIterator<Item = Report>, rules: &Rules) -> Self {
        let (mut stored, mut count) = (Self::default(), 0);
        for report in reports {
            stored.apply(&report, rules);
            count += 1;
            assert!(stored.rows.len() <= count, "more rows than observations");
        }
        stored
    }

    fn history(&self) -> Vec<(String, Timestamp, Timestamp, Vec<Timestamp>)> {
        let row = |row: &Row| {
            let Row { snapshot, repeats } = row;
            let content = format!("{:?} {:?}", snapshot.metadata.raw(), snapshot.role);
            (
                content,
                snapshot.first_observed_at,
                snapshot.last_observed_at,
                repeats.clone(),
            )
        };
        self.rows.iter().map(row).collect()
    }
}

fn rest(second: i64, metadata: &str, role: &str) -> Report {
    let observation = Observation {
        role: Some(Label::new(role)),
        joined_at: Some(at(0)),
        ..Observation::new(
            key(),
            at(second),
            Source::Room,
            Metadata::from_text(metadata),
        )
    };
    observation.into()
}

/// An answer of the peer endpoint, which alone knows the tracks.
fn rest_with_tracks(second: i64, metadata: &str, role: &str) -> Report {
    let Report::Observed(observation) = rest(second, metadata, role) else {
        unreachable!("an answer is an observation")
    };
    let observation = Observation {
        source: Source::Peer,
        tracks: Tracks::from_wire("{}"),
        ..observation
    };
    observation.into()
}

fn event(kind: EventKind, second: i64, metadata: Option<&str>) -> EventReport {
    EventReport {
        metadata: metadata.map(Metadata::from_text),
        role: Some(Label::new("player")),
        joined_at: Some(at(0)),
        presence: Presence {
            connected_since: Some(at(0)),
            ..Presence::default()
        },
        ..EventReport::new(key(), kind, at(second))
    }
}

fn join(metadata: Option<&str>) -> Report {
    event(EventKind::Join, 0, metadata).into()
}

fn leave(second: i64, kind: EndKind, metadata: Option<&str>) -> Report {
    let event = event(EventKind::Leave, second, metadata);
    let presence = Presence {
        ended: Some(End {
            at: at(second),
            kind,
            reason: None,
        }),
        ..event.presence
    };
    EventReport { presence, ..event }.into()
}

/// The reports, a line each.
fn brief(reports: &[Report]) -> Vec<String> {
    let line = |report: &Report| {
        let observation = report.observation();
        let said = observation.map(|o| {
            (
                o.observed_at.to_string()[14..19].to_owned(),
                o.metadata.raw().map(ToOwned::to_owned),
                o.role.clone(),
                o.tracks.is_some(),
            )
        });
        match report {
            Report::Event(event) => format!(
                "{:?} {said:?} {:?}",
                event.kind,
                event.presence.ended.as_ref().map(|end| (end.at, end.kind))
            ),
            _ => format!("{said:?}"),
        }
    };
    reports.iter().map(line).collect()
}
