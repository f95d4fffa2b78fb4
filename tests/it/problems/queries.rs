//! Query strings: a mistyped filter is never ignored.

use super::problem;
use crate::support::world::World;

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "tables of query strings")]
async fn parameters_that_are_unknown_repeated_or_nonsense_are_refused() {
    let (world, app) = World::with_app().await;
    let resume = [
        "room=r",
        "Room_id=r",
        "room_id=a&room_id=b",
        "room_id=a&room_id=a",
        "room_id=",
        "room_id",
        "exclude_peer_id=",
        "max_age=-1",
        "max_age=1.5",
        "max_age=1m",
        "max_age=",
        "max_age=18446744073709551616",
        "at=2026-12-01T12:00:00Z",
        "limit=1",
        "=x",
    ];
    let history = [
        "user_id=u",
        "since=yesterday",
        "since=2026-12-01",
        "since=",
        "until=1764590400",
        "at=2026-13-01T00:00:00Z",
        "at=2026-12-01T12:00:00Z&since=2026-12-01T12:00:00Z",
        "at=2026-12-01T12:00:00Z&until=2026-12-01T12:00:00Z",
        "limit=1&limit=2",
        "cursor=nonsense",
        "cursor=",
        "cursor=1_2",
        "cursor=99999999999999999999_01a23179-de00-7cbd-8ef0-1974a219aeff",
        "cursor=9223372036854775807_01a23179de007cbd8ef01974a219aeff",
        "cursor=-9223372036854775808_01a23179de007cbd8ef01974a219aeff",
        "cursor=8210266876800000000_01a23179de007cbd8ef01974a219aeff",
        "cursor=-8334601228800000000_01a23179de007cbd8ef01974a219aeff",
        "cursor=253402300800000000_01a23179de007cbd8ef01974a219aeff",
        "max_age=1",
    ];
    let room = [
        "user=u",
        "user_id=a&user_id=b",
        "user_id=",
        "role=",
        "peer_id=p",
        "role=a&role=a",
    ];
    for query in resume {
        problem(
            app.get(&format!("/v1/users/u/resume?{query}")).await,
            400,
            "invalid-request",
        );
    }
    for query in history {
        problem(
            app.get(&format!("/v1/users/u/snapshots?{query}")).await,
            400,
            "invalid-request",
        );
    }
    for query in room {
        problem(
            app.post(&format!("/v1/rooms/r/snapshots?{query}")).await,
            400,
            "invalid-request",
        );
    }
    for query in ["role=x", "user_id=u", "x"] {
        problem(
            app.post(&format!("/v1/rooms/r/peers/p/snapshots?{query}"))
                .await,
            400,
            "invalid-request",
        );
    }
    assert_eq!(world.sim.request_count(), 0);
    // An empty query is none.
    problem(
        app.get("/v1/users/u/resume?").await,
        404,
        "no-saved-metadata",
    );
    problem(
        app.post("/v1/rooms/r/snapshots?").await,
        404,
        "room-not-active",
    );
    problem(
        app.post("/v1/rooms/r/peers/p/snapshots?").await,
        404,
        "room-not-active",
    );
    // Times that no database holds are times all the same.
    for time in [
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "2026-12-31T23:59:60Z",
    ] {
        for name in ["since", "until", "at"] {
            app.get(&format!("/v1/users/u/snapshots?{name}={time}"))
                .await
                .expect(200);
        }
    }
    for cursor in ["0", "-62135596800000000", "253402300799999999"] {
        let cursor = format!("{cursor}_01a23179de007cbd8ef01974a219aeff");
        app.get(&format!("/v1/users/u/snapshots?cursor={cursor}"))
            .await
            .expect(200);
    }
}
