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
