//! History: order, filters, instants and pages.

use std::time::Duration;

use hms_sim::WireMetadata;
use insta::assert_json_snapshot;
use serde_json::Value;

use crate::support::world::{Replica, Setup, World};

/// Five rows a second apart: `a0 b0 a1 b1 a2`, of peer `a` in the cave and `b` in the tower; each observed for half a second.
async fn with_history() -> (World, Replica) {
    let (world, app) = World::with_app().await;
    for (room, peer) in [("cave", "a"), ("tower", "b")] {
        world.join_in(room, "player-7", peer, "");
    }
    for (room, peer, metadata) in [
        ("cave", "a", "a0"),
        ("tower", "b", "b0"),
        ("cave", "a", "a1"),
        ("tower", "b", "b1"),
        ("cave", "a", "a2"),
    ] {
        world
            .sim
            .set_metadata(room, peer, WireMetadata::text(metadata))
            .unwrap();
        app.post(&format!("/v1/rooms/{room}/snapshots"))
            .await
            .expect(200);
        world.clock.advance(Duration::from_millis(500));
        app.post(&format!("/v1/rooms/{room}/snapshots"))
            .await
            .expect(200);
        world.clock.advance(Duration::from_millis(500));
    }
    (world, app)
}

async fn page(app: &Replica, query: &str) -> Value {
    app.get(&format!("/v1/users/player-7/snapshots{query}"))
        .await
        .expect(200)
        .json()
}

fn metadata(page: &Value) -> Vec<&str> {
    page["snapshots"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["metadata_raw"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn history_is_newest_first_and_can_be_filtered() {
    let (_world, app) = with_history().await;
    assert_json_snapshot!(page(&app, "?limit=1").await, @r#"
    {
      "next_cursor": "1796126404000000_01a23179eda079b6b5deaada9dda06f5",
      "snapshots": [
        {
          "first_observed_at": "2026-12-01T12:00:04.000000Z",
          "id": "01a23179-eda0-79b6-b5de-aada9dda06f5",
          "joined_at": "2026-12-01T12:00:00.000000Z",
          "last_observed_at": "2026-12-01T12:00:04.000000Z",
          "metadata": "a2",
          "metadata_raw": "a2",
          "name": "player-7",
          "peer_id": "a",
          "role": "player",
          "room_id": "cave",
          "source": "room",
          "tracks": null,
          "user_id": "player-7"
        }
      ]
    }
    "#);
    let cases: &[(&str, &[&str])] = &[
        ("", &["a2", "b1", "a1", "b0", "a0"]),
        ("?room_id=cave", &["a2", "a1", "a0"]),
        ("?peer_id=b", &["b1", "b0"]),
        ("?room_id=cave&peer_id=b", &[]),
        // From `since` on, and before `until`.
        ("?since=2026-12-01T12:00:03Z", &["a2", "b1"]),
        ("?since=2026-12-01T12:00:03.000001Z", &["a2"]),
        ("?until=2026-12-01T12:00:01Z", &["a0"]),
        ("?until=2026-12-01T12:00:01.000001Z", &["b0", "a0"]),
        (
            "?since=2026-12-01T12:00:01Z&until=2026-12-01T12:00:03Z",
            &["a1", "b0"],
        ),
        (
            "?since=2026-12-01T13:00:01%2B01:00&until=2026-12-01T13:00:03+01:00",
            &["a1", "b0"],
        ),
        (
            "?since=2026-12-01T12:00:03Z&until=2026-12-01T12:00:01Z",
            &[],
        ),
    ];
    for (query, expected) in cases {
        assert_eq!(metadata(&page(&app, query).await), *expected, "{query}");
    }
    let nobody = app.history("player-8").await.expect(200);
    assert_eq!(nobody.text, r#"{"snapshots":[],"next_cursor":null}"#);
}

#[tokio::test]
async fn at_gives_what_was_in_force() {
    let (_world, app) = with_history().await;
    let cases: &[(&str, &[&str])] = &[
        ("11:59:59.999999Z", &[]),
        ("12:00:00Z", &["a0"]),
        ("12:00:00.75Z", &["a0"]),
        ("12:00:01Z", &["b0", "a0"]),
        ("12:00:02.6Z", &["a1", "b0"]),
        ("12:00:03.1Z", &["b1", "a1"]),
        ("23:00:00Z", &["a2", "b1"]),
    ];
    for (at, expected) in cases {
        assert_eq!(
            metadata(&page(&app, &format!("?at=2026-12-01T{at}")).await),
            *expected,
            "{at}"
        );
    }
    let first = page(&app, "?at=2026-12-01T12:00:02.6Z&limit=1").await;
    assert_eq!(metadata(&first), ["a1"]);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = page(
        &app,
        &format!("?at=2026-12-01T12:00:02.6Z&limit=1&cursor={cursor}"),
    )
    .await;
    assert_eq!(
        (metadata(&second), &second["next_cursor"]),
        (vec!["b0"], &Value::Null)
    );
    assert_eq!(
        metadata(&page(&app, "?at=2026-12-01T12:00:02.6Z&room_id=tower").await),
        ["b0"]
    );
}

#[tokio::test]
async fn the_pages_have_every_row_exactly_once() {
    let (world, app) = World::with_app().await;
    // Rows of one instant, of several peers, which differ in their ids only; and rows that arrive between the pages.
    for peer in 0..7 {
        world.join("player-7", &format!("peer-{peer}"), "0");
    }
    for round in 1..4 {
        app.snapshot_room().await.expect(200);
        for peer in 0..7 {
            world
                .sim
                .set_metadata(
                    crate::support::world::ROOM,
                    &format!("peer-{peer}"),
                    text(round),
                )
                .unwrap();
        }
        world.clock.advance(Duration::from_secs(1));
    }
    let all: Vec<Value> = page(&app, "").await["snapshots"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(all.len(), 21);
    for limit in [1, 2, 3, 7, 20, 21, 22, 500] {
        let (mut pages, mut query) = (Vec::new(), format!("?limit={limit}"));
        loop {
            let page = page(&app, &query).await;
            let rows = page["snapshots"].as_array().unwrap();
            assert!(rows.len() <= limit);
            pages.extend(rows.iter().cloned());
            let Some(cursor) = page["next_cursor"].as_str() else {
                break;
            };
            assert_eq!(rows.len(), limit);
            query = format!("?limit={limit}&cursor={cursor}");
        }
        assert_eq!(pages, all, "limit {limit}");
    }

    let first = page(&app, "?limit=10").await;
    app.snapshot_room().await.expect(200);
    let rest = page(
        &app,
        &format!("?cursor={}", first["next_cursor"].as_str().unwrap()),
    )
    .await;
    assert_eq!(rest["snapshots"].as_array().unwrap(), &all[10..]);
}

fn text(round: usize) -> WireMetadata {
    WireMetadata::text(&round.to_string())
}

#[tokio::test]
async fn the_limit_is_50_by_default_and_500_at_most() {
    let (world, app) = World::with_app().await;
    for peer in 0..51 {
        world.join("player-7", &format!("peer-{peer}"), "x");
    }
    app.snapshot_room().await.expect(200);
    assert_eq!(metadata(&page(&app, "").await).len(), 50);
    assert_eq!(metadata(&page(&app, "?limit=500").await).len(), 51);
    for bad in ["0", "501", "-1", "1.5", "", "many", "99999999999"] {
        let refused = app
            .get(&format!("/v1/users/player-7/snapshots?limit={bad}"))
            .await
            .expect(400);
        assert_eq!(refused.code(), "invalid-request", "{bad}");
    }
}

/// 30 rows of 1 MB are more than a page has: nobody's page takes the memory of all.
#[tokio::test]
async fn a_page_of_large_metadata_is_shorter_than_asked_for_and_the_next_goes_on() {
    let world = World::new().await;
    let app = world.replica(Setup::with_max_metadata_bytes(2 << 20)).await;
    world.join("player-7", "peer-1", "");
    for index in 0..30 {
        world.set("peer-1", &format!("{index}{}", "x".repeat(1_000_000)));
        app.snapshot("peer-1").await.expect(201);
    }
    let (mut rows, mut pages, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let page = page(&app, &format!("?limit=500{cursor}")).await;
        let sizes = metadata(&page)
            .into_iter()
            .map(|text| text.trim_end_matches('x').parse::<usize>().unwrap());
        rows.extend(sizes);
        pages += 1;
        assert!(metadata(&page).len() <= 9);
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(rows, (0..30).rev().collect::<Vec<_>>());
    assert_eq!(pages, 4);
}
