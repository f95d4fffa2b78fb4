//! The rules against a plain reference: generated stories of one peer, in every order of arrival.

use chrono::TimeDelta;
use proptest::prelude::*;

use super::*;
use crate::domain::LeaveMetadata;

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
    let mut samples: Vec<(Timestamp, Metadata, Option<Label>, bool)> = Vec::new();
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
            observation.tracks.is_some(),
        ));
    }
    samples.sort_by_key(|(at, metadata, role, has_tracks)| {
        let content = (metadata.clone(), role.clone(), !*has_tracks);
        (*at, !metadata.is_empty(), content)
    });
    samples.dedup();
    let mut tracks_are_known = false;
    let mut history: Vec<(Metadata, Option<Label>, Vec<Timestamp>)> = Vec::new();
    for (at, metadata, role, has_tracks) in samples {
        let tracks_are_new = has_tracks && !tracks_are_known;
        tracks_are_known |= has_tracks;
        match history.last_mut() {
            Some((known, known_role, times))
                if *known == metadata && *known_role == role && !tracks_are_new =>
            {
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
    (1i64..40, text, role, any::<bool>()).prop_map(|(second, metadata, role, has_tracks)| {
        let answer = if has_tracks { rest_with_tracks } else { rest };
        answer(second * 5, metadata, role)
    })
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
        let stored = Stored::after(arrivals.clone(), &rules);
        let metadata = stored.state.current.as_ref().and_then(|current| current.metadata.raw().map(ToOwned::to_owned));
        prop_assert_eq!(metadata, expected.metadata, "{:#?}", brief(&arrivals));
        prop_assert_eq!(stored.state.changed_at, expected.changed_at, "{:#?}", brief(&arrivals));
        prop_assert_eq!(stored.history(), expected.history, "{:#?}", brief(&arrivals));
    }
}
