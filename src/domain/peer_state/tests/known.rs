//! What a state says of its peer.

use super::*;

fn mark() -> RestoreMark {
    RestoreMark {
        at: at(7),
        change: ChangeId::from_uuid(Uuid::nil()),
        changed_at: at(1),
        answered_at: None,
    }
}

fn ended() -> Presence {
    Presence {
        ended: Some(End {
            at: at(9),
            kind: EndKind::Left,
            reason: None,
        }),
        ..Presence::default()
    }
}

#[test]
fn a_state_is_restored_only_to_a_connected_peer_that_never_had_metadata() {
    let joined = Stored::after([join(None)], &Rules::default()).state;
    let emptied = Stored::after([rest(5, "", "player")], &Rules::default()).state;
    let has_metadata = Stored::after([rest(5, "a", "player")], &Rules::default()).state;
    let cleared = [rest(5, "a", "player"), rest(6, "", "player")];
    let cleared = Stored::after(cleared, &Rules::default()).state;
    let restored = PeerState {
        restored: Some(mark()),
        ..joined.clone()
    };
    let left = PeerState {
        presence: ended(),
        ..joined.clone()
    };
    for (state, expected) in [
        (PeerState::default(), true),
        (joined, true),
        (emptied, true),
        (has_metadata, false),
        (cleared, false),
        (restored, false),
        (left, false),
    ] {
        assert_eq!(state.accepts_restore(), expected, "{state:?}");
    }
}

#[test]
fn the_latest_report_is_the_latest_time_that_is_known() {
    let observed = Stored::after([rest(5, "a", "player")], &Rules::default()).state;
    let joined = PeerState {
        joined_at: Some(at(6)),
        ..observed.clone()
    };
    let restored = PeerState {
        restored: Some(mark()),
        ..joined.clone()
    };
    let connected = PeerState {
        presence: Presence {
            connected_since: Some(at(8)),
            ..Presence::default()
        },
        ..restored.clone()
    };
    let left = PeerState {
        presence: ended(),
        ..restored.clone()
    };
    for (state, expected) in [
        (PeerState::default(), None),
        (observed, Some(at(5))),
        (joined, Some(at(6))),
        (restored, Some(at(7))),
        (connected, Some(at(8))),
        (left, Some(at(9))),
    ] {
        assert_eq!(state.latest_report_at(), expected, "{state:?}");
    }
}

#[test]
fn role_and_tracks_are_carried_on_but_only_the_peer_endpoint_shows_tracks() {
    let tracks = Tracks::from_wire(r#"{"camera":{}}"#);
    let with_tracks = Observation {
        role: Some(Label::new("player")),
        tracks: tracks.clone(),
        name: Some(Label::new("seven")),
        ..Observation::new(key(), at(5), Source::Peer, Metadata::from_text("a"))
    };
    let of_room = Observation::new(key(), at(6), Source::Room, Metadata::from_text("b"));
    let mut state = PeerState::default();
    state.apply(&with_tracks.into(), &Rules::default());
    let snapshot = state.snapshot(&key()).unwrap();
    assert_eq!((&snapshot.tracks, &state.tracks), (&tracks, &tracks));
    state.apply(&of_room.into(), &Rules::default());
    let snapshot = state.snapshot(&key()).unwrap();
    assert_eq!(snapshot.role, Some(Label::new("player")));
    assert_eq!((snapshot.name, snapshot.tracks), (None, None));
    assert_eq!(state.tracks, tracks);
}
