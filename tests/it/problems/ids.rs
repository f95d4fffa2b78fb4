//! Ids: opaque, percent-encoded in and out, and never a way to another path of 100ms.

use super::problem;
use crate::support::raw::send_raw;
use crate::support::world::World;

/// Every byte but letters and digits as `%XX`.
fn encoded(id: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02x}"),
    };
    id.bytes().map(byte).collect()
}

#[tokio::test]
async fn an_id_reaches_exactly_its_own_path_of_100ms() {
    let (world, app) = World::with_app().await;
    let longest = "⚔".repeat(256);
    let cases = [
        ("a/b", "a%2Fb"),
        ("%2F", "%252F"),
        ("a%2Fb", "a%252Fb"),
        ("../x", "..%2Fx"),
        ("%2e%2e", "%252e%252e"),
        ("...", "..."),
        (" ", "%20"),
        ("+", "+"),
        ("?x#y", "%3Fx%23y"),
        ("\\", "%5C"),
        (";a=b&c", ";a=b&c"),
        ("ünï ⚔", "%C3%BCn%C3%AF%20%E2%9A%94"),
        ("snapshots", "snapshots"),
        (&longest, &"%E2%9A%94".repeat(256)),
    ];
    for (id, segment) in cases {
        world.join_in(id, id, id, "x");
        let path = encoded(id);

        let peer = send_raw(
            &app,
            "POST",
            &format!("/v1/rooms/{path}/peers/{path}/snapshots"),
            "",
        )
        .await
        .expect(201)
        .json();
        let sent = world.sim.requests().pop().unwrap();
        assert_eq!(
            (sent.path, sent.query),
            (format!("/v2/active-rooms/{segment}/peers/{segment}"), None),
            "{id}"
        );
        for name in ["room_id", "peer_id", "user_id"] {
            assert_eq!(peer[name], id);
        }

        let room = send_raw(
            &app,
            "POST",
            &format!("/v1/rooms/{path}/snapshots?user_id={path}"),
            "",
        )
        .await
        .expect(200);
        assert_eq!(
            world.sim.requests().pop().unwrap().path,
            format!("/v2/active-rooms/{segment}/peers"),
            "{id}"
        );
        assert_eq!(room.json()["snapshots"][0]["id"], peer["id"], "{id}");

        let resumed = send_raw(
            &app,
            "GET",
            &format!("/v1/users/{path}/resume?room_id={path}"),
            "",
        )
        .await
        .expect(200);
        assert_eq!(resumed.json()["snapshot_id"], peer["id"]);
        let history = send_raw(
            &app,
            "GET",
            &format!("/v1/users/{path}/snapshots?peer_id={path}"),
            "",
        )
        .await
        .expect(200);
        assert_eq!(history.json()["snapshots"][0]["user_id"], id);
    }
}

#[tokio::test]
async fn what_is_no_id_is_refused_wherever_one_stands_and_100ms_is_not_asked() {
    let (world, app) = World::with_app().await;
    let too_long = "x".repeat(257);
    let bad_ids = [
        "", ".", "..", "%2e", "%2E%2e", ".%2e", &too_long, "%00", "a%0ab", "a%0d%0aX", "%7f",
        "%c2%85", "%ff", "%zz", "%", "%2",
    ];
    for id in bad_ids {
        for target in [
            format!("/v1/rooms/{id}/peers/p/snapshots"),
            format!("/v1/rooms/r/peers/{id}/snapshots"),
            format!("/v1/rooms/{id}/snapshots"),
            format!("/v1/rooms/r/snapshots?user_id={id}"),
            format!("/v1/rooms/r/snapshots?role={id}"),
        ] {
            problem(
                send_raw(&app, "POST", &target, "").await,
                400,
                "invalid-request",
            );
        }
        for target in [
            format!("/v1/users/{id}/resume"),
            format!("/v1/users/u/resume?room_id={id}"),
            format!("/v1/users/u/resume?exclude_peer_id={id}"),
            format!("/v1/users/{id}/snapshots"),
            format!("/v1/users/u/snapshots?room_id={id}"),
            format!("/v1/users/u/snapshots?peer_id={id}"),
        ] {
            problem(
                send_raw(&app, "GET", &target, "").await,
                400,
                "invalid-request",
            );
        }
    }
    assert_eq!(world.sim.request_count(), 0);
}

/// Three ids of the greatest length in four-byte characters are too large for an index; not a fault of the service.
#[tokio::test]
async fn ids_that_are_together_too_large_are_refused() {
    let (world, app) = World::with_app().await;
    let id = "😀".repeat(256);
    world.join_in(&id, &id, &id, "");
    let path = encoded(&id);
    problem(
        send_raw(
            &app,
            "POST",
            &format!("/v1/rooms/{path}/peers/{path}/snapshots"),
            "",
        )
        .await,
        400,
        "invalid-request",
    );
    let room = send_raw(&app, "POST", &format!("/v1/rooms/{path}/snapshots"), "")
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&room["skipped"][0]["peer_id"], &room["skipped"][0]["code"]),
        (&id.into(), &"invalid-request".into())
    );
}
