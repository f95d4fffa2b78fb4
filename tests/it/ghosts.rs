//! What the service is for: a player drops, and comes back while the ghost of the old peer is still there.

use std::time::Duration;

use rejoin::service::Limits;
use rejoin::sim::DropOptions;
use serde_json::json;

use crate::support::world::{ROOM, Replica, Setup, World};

const STATE: &str = r#"{"checkpoint":"cave-3","hp":71}"#;

async fn keep_room(app: &Replica) {
    app.post(&format!("/v1/rooms/{ROOM}/snapshots")).await.expect(200);
}

async fn resumed(app: &Replica) -> serde_json::Value {
    app.get("/v1/users/player-7/resume").await.expect(200).json()
}

/// Peer `old` holds the state and dropped; peer `new` is there, with nothing. Ten seconds lie between them.
fn ghost_and_new(world: &World) {
    world.join("player-7", "old", STATE);
    world.clock.pass(Duration::from_secs(10));
    world.sim.drop_peer(ROOM, "old", DropOptions::default()).unwrap();
    world.join("player-7", "new", "");
    world.clock.pass(Duration::from_secs(1));
}

#[tokio::test]
async fn the_ghost_beside_the_new_empty_peer_has_the_state() {
    let (world, app) = World::with_app().await;
    ghost_and_new(&world);
    keep_room(&app).await;
    let state = resumed(&app).await;
    assert_eq!(state["metadata_raw"], STATE);
    assert_eq!(state["peer_id"], "old");
    // The ghost goes, and the state stays.
    world.clock.pass(Duration::from_mins(2));
    keep_room(&app).await;
    assert_eq!(resumed(&app).await["metadata_raw"], STATE);
}

#[tokio::test]
async fn a_ghost_that_is_seen_again_unchanged_does_not_win_over_the_new_peer() {
    let (world, app) = World::with_app().await;
    ghost_and_new(&world);
    keep_room(&app).await;
    world.clock.pass(Duration::from_secs(5));
    world.set("new", "{\"hp\":70}");
    app.snapshot("new").await.expect(201);
    world.clock.pass(Duration::from_secs(5));
    // The room's list has no tracks, so that the first look at the peer itself adds a row of history. Its metadata is the same.
    app.snapshot("old").await.expect(201);
    app.snapshot("old").await.expect(200);
    keep_room(&app).await;
    let state = resumed(&app).await;
    assert_eq!((&state["peer_id"], &state["metadata_raw"]), (&json!("new"), &json!("{\"hp\":70}")));
}

#[tokio::test]
async fn a_game_that_sets_defaults_as_it_joins_leaves_its_new_connection_out() {
    let (world, app) = World::with_app().await;
    world.join("player-7", "old", STATE);
    keep_room(&app).await;
    world.clock.pass(Duration::from_secs(30));
    world.join("player-7", "new", "{\"hp\":100}");
    keep_room(&app).await;
    assert_eq!(resumed(&app).await["metadata_raw"], "{\"hp\":100}");
    let without = app.get("/v1/users/player-7/resume?exclude_peer_id=new").await.expect(200).json();
    assert_eq!(without["metadata_raw"], STATE);
}

#[tokio::test]
async fn a_real_clear_is_kept_until_something_is_set_again_and_history_keeps_what_was() {
    let (world, app) = World::with_app().await;
    for metadata in [STATE, ""] {
        if metadata.is_empty() {
            world.set("old", metadata);
        } else {
            world.join("player-7", "old", metadata);
        }
        world.clock.pass(Duration::from_secs(5));
        app.snapshot("old").await.expect(201);
    }
    let gone = app.get("/v1/users/player-7/resume").await.expect(404);
    assert_eq!(gone.code(), "no-saved-metadata");
    let history = app.get("/v1/users/player-7/snapshots").await.expect(200).json();
    let kept: Vec<_> = history["snapshots"].as_array().unwrap().iter().map(|row| &row["metadata_raw"]).collect();
    assert_eq!(kept, [&json!(""), &json!(STATE)]);
    world.clock.pass(Duration::from_secs(5));
    world.set("old", "again");
    app.snapshot("old").await.expect(201);
    assert_eq!(resumed(&app).await["metadata_raw"], "again");
}

#[tokio::test]
async fn of_two_peers_that_changed_at_once_the_one_that_joined_later_wins() {
    let (world, app) = World::with_app().await;
    world.join("player-7", "z-first", "first");
    world.clock.pass(Duration::from_secs(5));
    world.join("player-7", "a-second", "second");
    keep_room(&app).await;
    assert_eq!(resumed(&app).await["metadata_raw"], "second");
}

#[tokio::test]
async fn names_that_are_not_to_be_stored_are_nowhere() {
    let world = World::new().await;
    let limits = Limits { max_metadata_bytes: 262_144, store_names: false };
    let app = world.replica(Setup { limits, ..Setup::default() }).await;
    world.join("player-7", "old", STATE);
    let kept = app.snapshot("old").await.expect(201).json();
    assert_eq!(kept["name"], json!(null));
    assert_eq!(resumed(&app).await["name"], json!(null));
    let pool = world.database.pool().await;
    let names: i64 = sqlx::query_scalar("SELECT (SELECT count(name) FROM peers) + (SELECT count(name) FROM snapshots)")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(names, 0);
}
