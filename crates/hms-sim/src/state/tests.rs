use std::time::Duration;

use chrono::TimeZone;

use super::super::metadata::WireMetadata;
use super::*;

const ROOM: &str = "627cda81ab4f3b56a077dc33";

fn at(second: i64) -> Now {
    Utc.timestamp_opt(1_772_359_200 + second, 123_456_789)
        .unwrap()
}

fn dropped(ghost: u64) -> Disconnect {
    Disconnect {
        ghost: Duration::from_secs(ghost),
        reason: "websocket closed".into(),
        send_leave_now: false,
    }
}

fn names(state: &mut State) -> Vec<&'static str> {
    let name = |event: Event| match event.kind {
        EventKind::PeerJoined(_) => "join",
        EventKind::PeerLeft { .. } => "leave",
        EventKind::RoleChanged { .. } => "role",
        EventKind::SessionOpened => "open",
        EventKind::SessionClosed => "close",
        EventKind::RoomEnded { .. } => "end",
    };
    state.take_events().into_iter().map(name).collect()
}

#[test]
fn a_room_is_active_from_the_first_join_until_the_last_leave() {
    let mut state = State::default();
    assert_eq!(state.room(ROOM).err(), Some(SimError::RoomNotActive));
    let first = state.join(at(0), ROOM, Join::of("player-7")).unwrap();
    let second = state.join(at(1), ROOM, Join::of("player-7")).unwrap();
    assert_ne!(first.id, second.id);
    assert_eq!(first.session_id.len(), 24);
    state
        .remove(at(2), ROOM, &first.id, "client request", "")
        .unwrap();
    assert!(state.room(ROOM).is_ok());
    state
        .remove(at(3), ROOM, &second.id, "client request", "")
        .unwrap();
    assert_eq!(state.peer(ROOM, &second.id), Err(SimError::RoomNotActive));
    assert_eq!(
        names(&mut state),
        ["open", "join", "join", "leave", "leave", "close"]
    );

    let (record, present) = state.session(&first.session_id).unwrap();
    assert_eq!(record.session.ended_at, Some(at(3)));
    assert_eq!(
        record.left.iter().map(|left| left.1).collect::<Vec<_>>(),
        [at(2), at(3)]
    );
    assert!(present.is_empty());
    let again = state.join(at(4), ROOM, Join::of("player-7")).unwrap();
    assert_ne!(again.session_id, first.session_id);
}

#[test]
fn a_dropped_peer_lingers_with_its_metadata_and_leaves_at_the_end_of_its_ghost() {
    let mut state = State::default();
    let old = state
        .join(
            at(0),
            ROOM,
            Join::of("p").with_metadata(WireMetadata::text("cave-3")),
        )
        .unwrap();
    state.drop_peer(at(10), ROOM, &old.id, dropped(60)).unwrap();
    state.join(at(20), ROOM, Join::of("p")).unwrap();
    state.expire(at(69));
    assert_eq!(
        state.peer(ROOM, &old.id).unwrap().metadata,
        WireMetadata::text("cave-3")
    );
    assert_eq!(state.next_expiry(), Some(at(70)));
    names(&mut state);

    state.expire(at(500));
    assert_eq!(state.peer(ROOM, &old.id), Err(SimError::NoSuchPeer));
    let events = state.take_events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].at, at(70));
    assert!(
        matches!(&events[0].kind, EventKind::PeerLeft { reason, .. } if reason == "websocket closed")
    );
}

#[test]
fn a_leave_reported_at_the_drop_is_not_reported_again() {
    let mut state = State::default();
    let peer = state.join(at(0), ROOM, Join::of("p")).unwrap();
    state
        .drop_peer(
            at(1),
            ROOM,
            &peer.id,
            Disconnect {
                send_leave_now: true,
                ..dropped(60)
            },
        )
        .unwrap();
    state
        .drop_peer(at(2), ROOM, &peer.id, dropped(600))
        .unwrap();
    assert_eq!(names(&mut state), ["open", "join", "leave"]);
    state.expire(at(61));
    assert_eq!(names(&mut state), ["close"]);
    assert_eq!(state.next_expiry(), None);
}

#[test]
fn a_reconnected_ghost_stays_and_nothing_is_reported() {
    let mut state = State::default();
    let peer = state.join(at(0), ROOM, Join::of("p")).unwrap();
    names(&mut state);
    state.drop_peer(at(1), ROOM, &peer.id, dropped(60)).unwrap();
    assert_eq!(state.reconnect(ROOM, &peer.id).unwrap(), peer);
    state.expire(at(100));
    assert!(state.peer(ROOM, &peer.id).is_ok());
    assert!(names(&mut state).is_empty());
}

#[test]
fn a_ghost_of_no_time_is_gone_at_once() {
    let mut state = State::default();
    let peer = state.join(at(0), ROOM, Join::of("p")).unwrap();
    state.drop_peer(at(1), ROOM, &peer.id, dropped(0)).unwrap();
    assert_eq!(state.room(ROOM).err(), Some(SimError::RoomNotActive));
}

#[test]
fn ending_a_room_removes_everyone_ghosts_included() {
    let mut state = State::default();
    let ghost = state.join(at(0), ROOM, Join::of("a")).unwrap();
    state.join(at(0), ROOM, Join::of("b")).unwrap();
    state
        .drop_peer(at(1), ROOM, &ghost.id, dropped(60))
        .unwrap();
    names(&mut state);
    state.end_room(at(2), ROOM, RoomEnd::default()).unwrap();
    assert_eq!(names(&mut state), ["end", "close"]);
    state.expire(at(1000));
    assert!(names(&mut state).is_empty());
    assert_eq!(state.session(&ghost.session_id).unwrap().0.left.len(), 2);
}

#[test]
fn updates_replace_whole_values_and_tell_of_roles_only() {
    let mut state = State::default();
    let peer = state.join(at(0), ROOM, Join::of("p")).unwrap();
    names(&mut state);
    let metadata = Some(WireMetadata::json(r#""\ud800""#).unwrap());
    let peer = state
        .update(
            at(1),
            ROOM,
            &peer.id,
            Update {
                metadata,
                ..Update::default()
            },
        )
        .unwrap();
    assert_eq!(format!("{:?}", peer.metadata), r#""\ud800""#);
    assert!(names(&mut state).is_empty());
    for role in ["backstage", "backstage"] {
        state
            .update(
                at(2),
                ROOM,
                &peer.id,
                Update {
                    role: Some(role.into()),
                    ..Update::default()
                },
            )
            .unwrap();
    }
    assert_eq!(names(&mut state), ["role"]);
}

#[test]
fn a_given_peer_id_is_taken_once() {
    let mut state = State::default();
    let join = Join {
        peer_id: Some("mine".into()),
        ..Join::of("p")
    };
    assert_eq!(state.join(at(0), ROOM, join.clone()).unwrap().id, "mine");
    assert_eq!(state.join(at(1), ROOM, join), Err(SimError::PeerExists));
    assert_eq!(names(&mut state), ["open", "join"]);
}

#[test]
fn filters_narrow_the_list() {
    let mut state = State::default();
    state.join(at(0), ROOM, Join::of("a")).unwrap();
    state
        .join(
            at(0),
            ROOM,
            Join {
                role: Some("host".into()),
                ..Join::of("b")
            },
        )
        .unwrap();
    let count = |user: Option<&str>, role: Option<&str>| {
        let filter = Filter {
            user_id: user.map(Into::into),
            role: role.map(Into::into),
        };
        state.peers(ROOM, &filter).unwrap().len()
    };
    assert_eq!(
        (
            count(None, None),
            count(Some("a"), None),
            count(None, Some("host"))
        ),
        (2, 1, 1)
    );
    assert_eq!(count(Some("a"), Some("host")), 0);
}
