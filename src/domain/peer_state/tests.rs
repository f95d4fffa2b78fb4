//! The rules against a plain reference: generated stories of one peer, in every order of arrival.

use chrono::TimeDelta;
use proptest::prelude::*;

use super::*;
use crate::domain::{End, EventReport, LeaveMetadata, PeerId, RoomId, UserId};

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
                    let content = (!metadata.is_empty(), metadata.clone(), role.clone());
                    let times = (
                        row.snapshot.first_observed_at,
                        row.snapshot.last_observed_at,
                    );
                    (times, content)
                });
            }
        }
    }

    fn told(reports: impl IntoIterator<Item = Report>, rules: &Rules) -> Self {
        let mut stored = Self::default();
        for report in reports {
            stored.apply(&report, rules);
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

/// What should come out, from all observations at once.
struct Expected {
    history: Vec<(String, Timestamp, Timestamp, Vec<Timestamp>)>,
    metadata: Option<String>,
    changed_at: Option<Timestamp>,
}

/// The plain reference: sort everything, join equal neighbours, date the last change.
fn expected(reports: &[Report], rules: &Rules) -> Expected {
    let joined_with = reports.iter().find_map(|report| match report {
        Report::Event(event) if event.kind == EventKind::Join => event.metadata.clone(),
        _ => None,
    });
    let end = reports.iter().find_map(|report| match report {
        Report::Event(event) => event.presence.ended.clone(),
        _ => None,
    });
    let mut samples: Vec<(Timestamp, Metadata, Option<Label>)> = Vec::new();
    for report in reports {
        let Some(observation) = report.observation() else {
            continue;
        };
        let is_leave = matches!(report, Report::Event(event) if event.kind == EventKind::Leave);
        let metadata = &observation.metadata;
        let repeats_join = joined_with
            .as_ref()
            .is_some_and(|joined| !joined.is_empty() && joined == metadata);
        if is_leave
            && rules.leave_metadata == LeaveMetadata::Cautious
            && (metadata.is_empty() || repeats_join)
        {
            continue;
        }
        samples.push((
            observation.observed_at,
            metadata.clone(),
            observation.role.clone(),
        ));
    }
    samples.sort_by_key(|(at, metadata, role)| {
        (*at, !metadata.is_empty(), metadata.clone(), role.clone())
    });
    samples.dedup();
    let mut history: Vec<(Metadata, Option<Label>, Vec<Timestamp>)> = Vec::new();
    for (at, metadata, role) in samples {
        match history.last_mut() {
            Some((known, known_role, times)) if *known == metadata && *known_role == role => {
                times.push(at);
            }
            _ => history.push((metadata, role, vec![at])),
        }
    }
    let (mut changed_at, mut known, mut other_until) = (None, Metadata::NONE, None);
    for (metadata, _, times) in &history {
        if *metadata != known && !(metadata.is_empty() && known.is_empty()) {
            let ghost_since = end
                .as_ref()
                .filter(|end| end.kind == EndKind::Dropped)
                .map(|end| end.at.shifted(-rules.ghost));
            changed_at = Some(match ghost_since {
                Some(since) => since
                    .max(at(0))
                    .max(other_until.unwrap_or(since))
                    .min(times[0]),
                None => times[0],
            });
        }
        known = metadata.clone();
        other_until = times.last().copied();
    }
    Expected {
        metadata: history
            .last()
            .and_then(|(metadata, ..)| metadata.raw().map(ToOwned::to_owned)),
        changed_at,
        history: history
            .into_iter()
            .map(|(metadata, role, times)| {
                let content = format!("{:?} {:?}", metadata.raw(), role);
                let (first, last) = (times[0], times[times.len() - 1]);
                let between = times.into_iter().filter(|at| *at > first && *at < last);
                let mut between: Vec<Timestamp> = between.collect();
                between.dedup();
                (content, first, last, between)
            })
            .collect(),
    }
}

fn rest_report() -> impl Strategy<Value = Report> {
    let text = prop::sample::select(vec!["", "a", "b", "j"]);
    let role = prop::sample::select(vec!["player", "player", "player", "spectator"]);
    (1i64..40, text, role).prop_map(|(second, metadata, role)| rest(second * 5, metadata, role))
}

fn leave_report() -> impl Strategy<Value = Option<Report>> {
    let text = prop::sample::select(vec![None, Some(""), Some("a"), Some("b"), Some("j")]);
    let kind = prop::sample::select(vec![EndKind::Dropped, EndKind::Left]);
    prop::option::of(
        (10i64..40, kind, text).prop_map(|(second, kind, text)| leave(second * 5 + 1, kind, text)),
    )
}

fn story() -> impl Strategy<Value = Vec<Report>> {
    let join_text = prop::sample::select(vec![None, Some(""), Some("a"), Some("j")]);
    (
        prop::option::of(join_text.prop_map(join)),
        prop::collection::vec(rest_report(), 0..7),
        leave_report(),
    )
        .prop_map(|(join, rest, leave)| join.into_iter().chain(rest).chain(leave).collect())
}

fn rules(ghost: i64, leave_metadata: LeaveMetadata) -> Rules {
    Rules {
        ghost: TimeDelta::seconds(ghost),
        leave_metadata,
        ..Rules::default()
    }
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

/// The peer was observed empty at 3, and at 5 was about to be sent `a`, which changed at 1 elsewhere.
fn mark() -> RestoreMark {
    RestoreMark {
        at: at(5),
        change: ChangeId::new(&key().user_id, at(1), &Metadata::from_text("a")),
        changed_at: at(1),
        answered_at: None,
    }
}

fn told(reports: &[Report]) -> Stored {
    let rules = Rules::default();
    let stored = Stored::told(reports.iter().cloned(), &rules);
    if let Some(current) = &stored.state.current {
        let newest = &stored.rows.last().unwrap().snapshot;
        assert_eq!(stored.state.snapshot(&key()).as_ref(), Some(newest));
        let before = stored
            .rows
            .iter()
            .rev()
            .nth(1)
            .map(|row| row.snapshot.last_observed_at);
        assert_eq!(current.preceded_at, before);
    }
    stored
}

fn restored(until: i64) -> Report {
    let Report::Observed(observation) = rest(6, "a", "player") else {
        unreachable!()
    };
    Report::Restored {
        observation,
        answered_at: at(until),
    }
}

#[test]
fn a_restored_state_keeps_the_time_and_the_name_of_its_change() {
    let restoring = Report::Restoring {
        key: key(),
        mark: mark(),
    };
    let before = [rest(3, "", "player"), restoring];
    for (then, changed_at, is_restored) in [
        (vec![rest(6, "a", "player")], 1, true),
        (vec![restored(8)], 1, true),
        (vec![rest(7, "", "player"), restored(8)], 1, true),
        (vec![restored(8), rest(7, "", "player")], 1, true),
        (vec![rest(6, "c", "player")], 6, false),
        (
            vec![rest(6, "a", "player"), rest(7, "b", "player")],
            7,
            false,
        ),
        (
            vec![
                rest(6, "a", "player"),
                rest(7, "b", "player"),
                rest(8, "a", "player"),
            ],
            8,
            false,
        ),
        (
            vec![rest(6, "a", "player"), rest(7, "", "player")],
            7,
            false,
        ),
        (vec![rest(7, "b", "player"), restored(8)], 7, false),
        (
            vec![restored(8), rest(7, "b", "player"), rest(9, "b", "player")],
            7,
            false,
        ),
    ] {
        let reports: Vec<Report> = before.iter().cloned().chain(then).collect();
        let state = told(&reports).state;
        assert_eq!(
            state.changed_at,
            Some(at(changed_at)),
            "{:#?}",
            brief(&reports)
        );
        let id = state.change.map(|change| change.id);
        assert_eq!(
            id == Some(mark().change),
            is_restored,
            "{:#?}",
            brief(&reports)
        );
    }
}

#[test]
fn a_change_keeps_its_name_when_it_is_dated_back() {
    let first = told(&[rest(20, "a", "player")]).state;
    for back in [rest(10, "a", "player"), leave(70, EndKind::Dropped, None)] {
        let state = told(&[rest(20, "a", "player"), back]).state;
        assert_eq!(state.changed_at, Some(at(10)));
        assert_eq!(
            state.change.map(|change| change.id),
            first.change.map(|change| change.id)
        );
    }
}

#[test]
fn what_only_presence_is_known_of_has_no_history() {
    let stored = told(&[leave(60, EndKind::Left, Some("")), join(None)]);
    assert_eq!((stored.rows.len(), stored.state.changed_at), (0, None));
    let stored = told(&[leave(60, EndKind::Left, None), rest(10, "a", "player")]);
    assert_eq!(
        (stored.rows.len(), stored.state.changed_at),
        (1, Some(at(10)))
    );
    assert_eq!(stored.state.presence.ended.unwrap().at, at(60));
}

#[test]
fn an_end_is_undone_by_a_later_join_alone() {
    let left = leave(60, EndKind::Dropped, None);
    assert!(
        told(&[left.clone(), rest(90, "a", "player")])
            .state
            .presence
            .ended
            .is_some()
    );
    let Report::Observed(observation) = rest(90, "a", "player") else {
        unreachable!()
    };
    let again = Observation {
        joined_at: Some(at(61)),
        ..observation
    };
    for reports in [[left.clone(), again.clone().into()], [again.into(), left]] {
        assert_eq!(told(&reports).state.presence.ended, None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// Whatever the order of arrival, and however often each report comes, what is stored is what
    /// the reference says of all of them.
    #[test]
    fn any_order_of_arrival_ends_the_same(
        reports in story(),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        shuffle in any::<u64>(),
        ghost in prop::sample::select(vec![0i64, 60]),
        leave_metadata in prop::sample::select(vec![LeaveMetadata::Cautious, LeaveMetadata::Trust]),
    ) {
        if reports.is_empty() {
            return Ok(());
        }
        let rules = rules(ghost, leave_metadata);
        let expected = expected(&reports, &rules);
        let mut arrivals: Vec<Report> =
            order.iter().map(|index| reports[index.index(reports.len())].clone()).collect();
        let mut rest = reports.clone();
        let mut state = shuffle;
        while !rest.is_empty() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let index = usize::try_from(state >> 33).unwrap() % rest.len();
            arrivals.push(rest.swap_remove(index));
        }
        let stored = Stored::told(arrivals.clone(), &rules);
        let metadata = stored.state.current.as_ref().and_then(|current| current.metadata.raw().map(ToOwned::to_owned));
        prop_assert_eq!(metadata, expected.metadata, "{:#?}", brief(&arrivals));
        prop_assert_eq!(stored.state.changed_at, expected.changed_at, "{:#?}", brief(&arrivals));
        prop_assert_eq!(stored.history(), expected.history, "{:#?}", brief(&arrivals));
    }
}
