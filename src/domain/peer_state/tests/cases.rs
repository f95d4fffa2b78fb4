//! Single cases of the rules.

use super::*;

/// The peer was observed empty at 3, and at 5 was about to be sent `a`, which changed at 1 elsewhere.
fn mark() -> RestoreMark {
    RestoreMark {
        at: at(5),
        change: ChangeId::new(&key().user_id, at(1), &Metadata::from_text("a")),
        changed_at: at(1),
        answered_at: None,
    }
}

fn stored_after(reports: &[Report]) -> Stored {
    let rules = Rules::default();
    let stored = Stored::after(reports.iter().cloned(), &rules);
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
            vec![rest(5, "b", "player"), rest(6, "a", "player")],
            6,
            false,
        ),
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
        let state = stored_after(&reports).state;
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
    let first = stored_after(&[rest(20, "a", "player")]).state;
    for back in [rest(10, "a", "player"), leave(70, EndKind::Dropped, None)] {
        let state = stored_after(&[rest(20, "a", "player"), back]).state;
        assert_eq!(state.changed_at, Some(at(10)));
        assert_eq!(
            state.change.map(|change| change.id),
            first.change.map(|change| change.id)
        );
    }
}

#[test]
fn what_only_presence_is_known_of_has_no_history() {
    let stored = stored_after(&[leave(60, EndKind::Left, Some("")), join(None)]);
    assert_eq!((stored.rows.len(), stored.state.changed_at), (0, None));
    let stored = stored_after(&[leave(60, EndKind::Left, None), rest(10, "a", "player")]);
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
        stored_after(&[left.clone(), rest(90, "a", "player")])
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
        assert_eq!(stored_after(&reports).state.presence.ended, None);
    }
}

#[test]
fn a_look_that_repeats_what_was_just_observed_changes_nothing() {
    let looked = |second, metadata: &str, role: &str| {
        let Report::Observed(observation) = rest(second, metadata, role) else {
            unreachable!()
        };
        Report::Looked(observation)
    };
    let (rules, before) = (
        Rules::default(),
        [rest(3, "a", "player"), rest(60, "a", "player")],
    );
    let after = |report: Report| {
        let reports = before.iter().cloned().chain([report]);
        Stored::after(reports, &rules)
    };
    let unchanged = Stored::after(before.iter().cloned(), &rules);
    for second in [60, 61, 119] {
        assert_eq!(
            after(looked(second, "a", "player")).state,
            unchanged.state,
            "{second}"
        );
    }
    for (second, metadata, role) in [
        (120, "a", "player"),
        (61, "b", "player"),
        (61, "", "player"),
        (61, "a", "judge"),
        (59, "b", "player"),
        (2, "a", "player"),
    ] {
        let of_look = after(looked(second, metadata, role));
        let of_snapshot = after(rest(second, metadata, role));
        assert_eq!(of_look.state, of_snapshot.state, "{second}");
        assert_eq!(of_look.rows, of_snapshot.rows, "{second}");
    }
}
