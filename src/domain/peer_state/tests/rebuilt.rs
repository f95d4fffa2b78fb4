//! What rebuilt rows say of the peer, also where older rows than those were not read.

use super::*;

/// The state after these reports, of which the last is out of order, where all but the oldest
/// `unread` rows were read.
fn rebuilt(reports: &[Report], unread: usize, complete: bool) -> PeerState {
    let rules = Rules::default();
    let (last, before) = reports.split_last().unwrap();
    let Stored { mut state, rows } = Stored::after(before.iter().cloned(), &rules);
    assert_eq!(state.apply(last, &rules), Effect::OutOfOrder);
    state.rebuild(&key(), &rows[unread..], complete, last, &rules);
    state
}

fn change(second: i64, metadata: &str) -> ChangeId {
    ChangeId::new(&key().user_id, at(second), &Metadata::from_text(metadata))
}

#[test]
fn a_change_keeps_its_id_where_an_older_row_of_its_metadata_turns_up() {
    let reports = [
        rest(5, "b", "player"),
        rest(20, "a", "player"),
        rest(10, "a", "spectator"),
    ];
    let found = rebuilt(&reports, 0, true).change.unwrap();
    assert_eq!((found.id, found.observed_at), (change(20, "a"), at(10)));
    assert_eq!(found.other_until, Some(at(5)));
    let found = rebuilt(&reports[1..], 0, true).change.unwrap();
    assert_eq!((found.id, found.observed_at), (change(20, "a"), at(10)));
}

#[test]
fn other_metadata_that_becomes_the_current_one_has_its_own_change() {
    let reports = [
        rest(30, "b", "player"),
        leave(60, EndKind::Left, Some("j")),
        join(Some("j")),
    ];
    let state = rebuilt(&reports, 0, true);
    assert_eq!(state.current.unwrap().metadata, Metadata::from_text("b"));
    let found = state.change.unwrap();
    assert_eq!((found.id, found.observed_at), (change(30, "b"), at(30)));
}

#[test]
fn a_change_that_is_older_than_the_rows_that_were_read_stays() {
    let reports = [
        rest(1, "a", "player"),
        rest(10, "a", "spectator"),
        rest(20, "a", "player"),
        rest(12, "a", "moderator"),
    ];
    let state = rebuilt(&reports, 1, false);
    let found = state.change.unwrap();
    assert_eq!((found.id, found.observed_at), (change(1, "a"), at(1)));
    assert_eq!(state.changed_at, Some(at(1)));
    assert_eq!(state.current.unwrap().preceded_at, Some(at(12)));
}

#[test]
fn a_change_within_the_rows_that_were_read_is_dated_by_them() {
    let reports = [
        rest(1, "a", "player"),
        rest(10, "a", "spectator"),
        rest(20, "a", "player"),
        rest(12, "b", "player"),
    ];
    let found = rebuilt(&reports, 1, false).change.unwrap();
    assert_eq!(found.observed_at, at(20));
    assert_eq!(found.other_until, Some(at(12)));
}

#[test]
fn a_clear_counts_only_where_something_was_set_before_it() {
    let reports = [
        rest(1, "a", "player"),
        rest(5, "", "player"),
        rest(10, "", "spectator"),
        rest(20, "", "player"),
        rest(12, "", "moderator"),
    ];
    let cleared = Some(change(5, ""));
    for (unread, complete, expected) in [(0, true, cleared), (2, false, cleared), (2, true, None)] {
        let state = rebuilt(&reports, unread, complete);
        assert_eq!(state.change.map(|change| change.id), expected);
        assert_eq!(state.changed_at, expected.map(|_| at(5)));
    }
}

#[test]
fn a_lone_row_has_another_before_it_unless_all_were_read() {
    let mark = RestoreMark {
        at: at(5),
        change: change(1, "a"),
        changed_at: at(1),
        answered_at: None,
    };
    let Report::Observed(observation) = rest(6, "a", "player") else {
        unreachable!()
    };
    let reports = [
        rest(1, "b", "player"),
        Report::Restoring { key: key(), mark },
        rest(6, "", "player"),
        rest(7, "a", "player"),
        Report::Restored {
            observation,
            answered_at: at(8),
        },
    ];
    for (unread, complete, expected) in [
        (0, true, Some(at(1))),
        (1, true, None),
        (1, false, Some(at(6))),
    ] {
        let current = rebuilt(&reports, unread, complete).current.unwrap();
        let times = (current.first_observed_at, current.last_observed_at);
        assert_eq!(times, (at(6), at(7)));
        assert_eq!(current.preceded_at, expected, "{unread}, {complete}");
    }
}

#[test]
fn rows_before_deleted_history_are_told_apart() {
    let reports = [
        rest(1, "b", "player"),
        rest(10, "a", "player"),
        rest(15, "a", "player"),
        rest(20, "a", "spectator"),
        rest(30, "a", "player"),
    ];
    let Stored { state, rows } = Stored::after(reports, &Rules::default());
    assert_eq!(rows.len(), 4);
    assert_eq!(state.rows_before_gap(&rows), None);
    // The row that its change began, and the one of other metadata before that.
    let without_change = [rows[0].clone(), rows[2].clone(), rows[3].clone()];
    assert_eq!(state.rows_before_gap(&without_change), Some(1));
    assert_eq!(state.rows_before_gap(&rows[1..]), Some(0));
    // The row before the current one.
    let without_last_but_one = [rows[0].clone(), rows[1].clone(), rows[3].clone()];
    assert_eq!(state.rows_before_gap(&without_last_but_one), Some(2));
    // The current row.
    assert_eq!(state.rows_before_gap(&rows[..3]), Some(3));
    assert_eq!(state.rows_before_gap(&[]), Some(0));
    assert_eq!(PeerState::default().rows_before_gap(&rows), None);
}
