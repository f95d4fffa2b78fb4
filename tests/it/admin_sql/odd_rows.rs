//! The rows that the queries run on: a few users in one room, and metadata of every odd kind.

use rejoin::domain::{
    Claimant, End, EndKind, EventKind, EventReport, Label, Metadata, NewForward, Observation,
    PeerId, PeerKey, Presence, ProblemCode, Report, Requester, RestoreOutcome, ResumeRecord,
    RoomId, Source, Timestamp, Tracks, UserId, WatchInterval,
};
use rejoin::store::{NewWatch, Store};
use uuid::Uuid;

use crate::support::store::saved_state;

/// A time of the day that the pages use in their examples.
pub(super) fn at(time: &str) -> Timestamp {
    format!("2026-03-01T{time}Z").parse().unwrap()
}

fn observation(time: &str, user: &str, peer: &str, role: &str, metadata: Metadata) -> Observation {
    let joined_at = at(if peer == "new-7" {
        "14:05:30"
    } else {
        "13:50:00"
    });
    let (user, room, peer) = (
        UserId::parse(user),
        RoomId::parse("cave"),
        PeerId::parse(peer),
    );
    Observation {
        key: PeerKey::new(user.unwrap(), room.unwrap(), peer.unwrap()).unwrap(),
        observed_at: at(time),
        source: Source::Room,
        metadata,
        name: Some(Label::new("someone")),
        role: Some(Label::new(role)),
        tracks: None,
        joined_at: Some(joined_at),
    }
}

fn player(time: &str, metadata: &str) -> Observation {
    observation(
        time,
        "player-7",
        "old-7",
        "player",
        Metadata::from_text(metadata),
    )
}

/// The same observation from the peer endpoint, which has tracks.
fn with_microphone(muted: bool, observation: Observation) -> Observation {
    let tracks = format!(
        r#"{{"cam": {{"type": "video", "mute": false}}, "mic": {{"type": "audio", "mute": {muted}}}, "odd": 3, "none": null}}"#
    );
    Observation {
        source: Source::Peer,
        tracks: Tracks::from_wire(&tracks),
        ..observation
    }
}

fn evening() -> Vec<Observation> {
    let text = Metadata::from_text;
    vec![
        with_microphone(
            false,
            player("14:00:00", r#"{"checkpoint":"cave-2","hp":90}"#),
        ),
        with_microphone(
            true,
            player("14:01:30", r#"{"checkpoint":"cave-2","hp":90}"#),
        ),
        with_microphone(
            true,
            player("14:01:50", r#"{"checkpoint":"cave-2","hp":90}"#),
        ),
        player("14:02:00", r#"{"checkpoint":"cave-3","hp":71}"#),
        // Out of order: from within the time of the second.
        player("14:01:45", r#"{"checkpoint":"cave-2","hp":85}"#),
        // The ghost, and the new peer beside it.
        player("14:05:31", r#"{"checkpoint":"cave-3","hp":71}"#),
        observation("14:05:31", "player-7", "new-7", "player", text("")),
        observation("14:05:40", "player-7", "new-7", "player", text("")),
        observation(
            "14:00:00",
            "host-1",
            "host",
            "on-stage",
            text(r#"{"topic":"boss"}"#),
        ),
        observation(
            "14:20:00",
            "host-1",
            "host",
            "backstage",
            text(r#"{"topic":"boss"}"#),
        ),
        observation(
            "14:00:00",
            "cleared-1",
            "clear",
            "player",
            text(r#"{"coins":3}"#),
        ),
        observation("14:10:00", "cleared-1", "clear", "player", text("")),
        observation("14:00:00", "empty-text", "empty", "player", text("")),
        observation("14:00:00", "empty-null", "empty", "player", Metadata::NONE),
    ]
}

/// What webhooks reported: the first peer dropped, and the second is connected. The leave event has
/// no metadata.
fn reports() -> [Report; 2] {
    let drop = End {
        at: at("14:06:00"),
        kind: EndKind::Dropped,
        reason: Some(Label::new("websocket closed")),
    };
    [
        ("old-7", "13:50:00", "14:06:00", Some(drop)),
        ("new-7", "14:05:30", "14:06:10", None),
    ]
    .map(|(peer, joined, time, ended)| {
        let observation = observation(time, "player-7", peer, "player", Metadata::from_text(""));
        let (kind, metadata) = match ended {
            Some(_) => (EventKind::Leave, None),
            None => (EventKind::Join, Some(observation.metadata)),
        };
        Report::Event(EventReport {
            metadata,
            name: observation.name,
            role: observation.role,
            joined_at: observation.joined_at,
            presence: Presence {
                connected_since: Some(at(joined)),
                session_id: Some(Label::new("s1")),
                ended,
            },
            ..EventReport::new(observation.key, kind, observation.observed_at)
        })
    })
}

/// Metadata that some part of Postgres, a JSON parser or a cast refuses, by its user.
pub(super) fn odd() -> Vec<(&'static str, String)> {
    vec![
        ("odd-array", "[1, {\"hp\": 1}]".to_owned()),
        ("odd-bell", "\u{7}\u{1b}[2J".to_owned()),
        ("odd-deep", "[".repeat(100_000) + &"]".repeat(100_000)),
        ("odd-digits", "9".repeat(400)),
        ("odd-escaped-nul", r#"{"a":"\u0000"}"#.to_owned()),
        ("odd-exponent", "1e999999".to_owned()),
        ("odd-half-pair", r#"{"a":"\ud800"}"#.to_owned()),
        ("odd-hp-null", r#"{"hp":null}"#.to_owned()),
        ("odd-hp-text", r#"{"hp":"plenty"}"#.to_owned()),
        ("odd-nul", "a\0b".to_owned()),
        ("odd-null", "null".to_owned()),
        ("odd-repeated", r#"{"hp":100,"hp":200}"#.to_owned()),
        ("odd-string", r#""plain""#.to_owned()),
        ("odd-text", "plain 'text'; --".to_owned()),
        ("odd-unicode", "{\"name\":\"ünï ⚔ \u{10ffff}\"}".to_owned()),
    ]
}

/// Saves all rows, each user's in order, and returns the user of the pages' examples.
pub(super) async fn save(store: &Store) -> UserId {
    let odd = odd().into_iter().map(|(user, text)| {
        observation("14:00:00", user, "odd", "player", Metadata::from_text(text))
    });
    for observation in evening().into_iter().chain(odd) {
        store.save(observation).await.unwrap();
    }
    for report in reports() {
        store.report(report).await.unwrap();
    }
    let user = UserId::parse("player-7").unwrap();
    resumes(store, &user).await;
    watch(store).await;
    store.queue_forward(forward("cave")).await.unwrap();
    user
}

/// An event of this room to pass on.
pub(super) fn forward(room: &str) -> NewForward {
    NewForward {
        id: Uuid::new_v4(),
        room_id: Some(RoomId::parse(room).unwrap()),
        user_id: Some(UserId::parse("player-7").unwrap()),
        headers: vec![("content-type".to_owned(), b"application/json".to_vec())],
        body: "{}".into(),
    }
}

async fn watch(store: &Store) {
    let watch = NewWatch {
        room_id: RoomId::parse("cave").unwrap(),
        every: WatchInterval::DEFAULT,
        until: None,
        requested_by: Some("nightly-job".into()),
    };
    store.put_watch(watch).await.unwrap();
    let gap = store.add_reconciliation(at("14:00:00"), None, None);
    gap.await.unwrap();
}

/// The state was claimed half a minute after the drop; the first restore failed, the second did
/// not.
async fn resumes(store: &Store, user: &UserId) {
    let state = saved_state(store, user).await.unwrap();
    let to = PeerKey {
        peer_id: PeerId::parse("new-7").unwrap(),
        ..state.key.clone()
    };
    let record = |time: &str, requester: Requester| ResumeRecord {
        id: Uuid::now_v7(),
        at: at(time),
        user_id: user.clone(),
        state: Some(state.clone()),
        to: Some(to.clone()),
        requester,
    };
    let server = Requester::Key(Some("game".into()));
    store
        .claim(
            record("14:06:30", server),
            Claimant::parse("server-1").unwrap(),
        )
        .await
        .unwrap();
    let failed = RestoreOutcome::Failed(ProblemCode::UpstreamUnavailable);
    store
        .record_restore(record("14:06:31", Requester::Join), failed)
        .await
        .unwrap();
    store
        .record_restore(
            record("14:06:40", Requester::Join),
            RestoreOutcome::Restored,
        )
        .await
        .unwrap();
}

/// The user joins once more, which requests a restore.
pub(super) fn joined_again(now: Timestamp) -> Report {
    let joined = observation(
        "14:59:59",
        "player-7",
        "third-7",
        "player",
        Metadata::from_text(""),
    );
    Report::Event(EventReport {
        metadata: Some(joined.metadata),
        restore_requested_at: Some(now),
        ..EventReport::new(joined.key, EventKind::Join, joined.observed_at)
    })
}
