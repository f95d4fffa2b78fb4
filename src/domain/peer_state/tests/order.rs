//! Which reports are in order, and what they do to the history.

use super::*;

#[test]
fn what_an_observation_does_to_the_history() {
    use Effect::{Added, Extended, None, OutOfOrder};
    let player = |second, metadata| rest(second, metadata, "player");
    for (before, report, effect) in [
        (vec![], player(10, "a"), Added),
        (vec![player(10, "a")], player(10, "a"), None),
        (vec![player(10, "a")], player(20, "a"), Extended),
        (vec![player(10, "a")], player(5, "a"), Extended),
        (vec![player(10, "a")], player(20, "b"), Added),
        (vec![player(10, "a")], player(5, "b"), OutOfOrder),
        // Observed again at its first time, between, and at its last.
        (
            vec![player(10, "a"), player(20, "a")],
            player(10, "a"),
            None,
        ),
        (
            vec![player(10, "a"), player(20, "a")],
            player(15, "a"),
            Extended,
        ),
        (
            vec![player(10, "a"), player(20, "a")],
            player(20, "a"),
            None,
        ),
        // Before the row, but after the one before it, and not after that.
        (
            vec![player(5, "b"), player(20, "a")],
            player(6, "a"),
            Extended,
        ),
        (
            vec![player(5, "b"), player(20, "a")],
            player(5, "a"),
            OutOfOrder,
        ),
        // At the same instant.
        (vec![player(10, "")], player(10, "a"), Added),
        (vec![player(10, "a")], player(10, ""), OutOfOrder),
        (vec![player(10, ""), player(10, "a")], player(10, "a"), None),
        (vec![player(10, "a")], rest(10, "a", "spectator"), Added),
        (
            vec![rest(10, "a", "spectator")],
            player(10, "a"),
            OutOfOrder,
        ),
        // Without the tracks that the row began with, before it and after.
        (
            vec![rest_with_tracks(10, "a", "player")],
            player(5, "a"),
            OutOfOrder,
        ),
        (
            vec![rest_with_tracks(10, "a", "player")],
            player(10, "a"),
            None,
        ),
        (
            vec![player(10, "a")],
            rest_with_tracks(10, "a", "player"),
            OutOfOrder,
        ),
        (
            vec![rest_with_tracks(10, "a", "player")],
            player(11, "a"),
            Extended,
        ),
        (
            vec![rest_with_tracks(10, "a", "player")],
            rest_with_tracks(5, "a", "player"),
            Extended,
        ),
    ] {
        let state = Stored::after(before.clone(), &Rules::default()).state;
        assert_eq!(
            state.clone().apply(&report, &Rules::default()),
            effect,
            "{:?}, then {:?}",
            brief(&before),
            brief(&[report])
        );
    }
}

/// Where a name, a role or tracks first become known, a row begins: in every order of arrival.
#[test]
fn what_is_mentioned_only_later_begins_a_row_in_every_order() {
    let bare = || Observation::new(key(), at(5), Source::Room, Metadata::from_text("a"));
    let later = || Observation {
        observed_at: at(10),
        ..bare()
    };
    let named = Observation {
        name: Some(Label::new("seven")),
        ..later()
    };
    let with_role = Observation {
        role: Some(Label::new("player")),
        ..later()
    };
    let with_tracks = Observation {
        source: Source::Peer,
        tracks: Tracks::from_wire("{}"),
        ..later()
    };
    for later in [named, with_role, with_tracks] {
        let reports = [Report::from(bare()), Report::from(later)];
        let in_order = Stored::after(reports.clone(), &Rules::default());
        let reversed = Stored::after(reports.into_iter().rev(), &Rules::default());
        assert_eq!(in_order.rows.len(), 2);
        assert_eq!(reversed.rows, in_order.rows);
        assert_eq!(reversed.state.current, in_order.state.current);
        assert_eq!(reversed.state.changed_at, in_order.state.changed_at);
    }
}

#[test]
fn a_join_that_arrives_after_its_leave_is_out_of_order() {
    let join_at = |second| Report::from(event(EventKind::Join, second, Some("j")));
    let left = [leave(60, EndKind::Left, Some("j"))];
    for (report, effect) in [
        (join_at(0), Effect::OutOfOrder),
        (join_at(60), Effect::None),
        (join_at(61), Effect::Extended),
        (join(None), Effect::None),
        (rest(50, "j", "player"), Effect::Extended),
    ] {
        let mut state = Stored::after(left.clone(), &Rules::default()).state;
        assert_eq!(state.apply(&report, &Rules::default()), effect);
    }
}

#[test]
fn a_restore_mark_that_comes_again_keeps_its_answer() {
    let mark = RestoreMark {
        at: at(5),
        change: ChangeId::new(&key().user_id, at(1), &Metadata::from_text("a")),
        changed_at: at(1),
        answered_at: None,
    };
    let restoring = Report::Restoring { key: key(), mark };
    let Report::Observed(observation) = rest(6, "a", "player") else {
        unreachable!()
    };
    let restored = Report::Restored {
        observation,
        answered_at: at(8),
    };
    let reports = [restoring.clone(), restored, restoring];
    let state = Stored::after(reports, &Rules::default()).state;
    let answered = RestoreMark {
        answered_at: Some(at(8)),
        ..mark
    };
    assert_eq!(state.restored, Some(answered));
}
