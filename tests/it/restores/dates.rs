//! A change has one date, on whichever peers it is: what is learned of its source later moves the
//! peers that it was restored to along.

use std::time::Duration;

use serde_json::{Value, json};

use super::restore;
use crate::support::webhooks::{join_event, leave_event, send_event};
use crate::support::world::{ROOM, Replica, Setup, World};

/// The second in which each peer joins, after 12:00:00.
const JOINED: u32 = 0;

async fn world() -> (World, Replica) {
    let world = World::new().await;
    let app = world.replica(Setup::with_webhooks()).await;
    (world, app)
}

/// Sets the metadata of a peer, and snapshots it in this second.
async fn set_at(world: &World, app: &Replica, second: u64, peer: &str, metadata: &str) {
    world.clock.advance_to(Duration::from_secs(second - 1));
    world.set(peer, metadata);
    app.snapshot(peer).await.expect(201);
}

async fn dropped(app: &Replica, peer: &str, second: u32) {
    let leave = leave_event(peer, JOINED, second, "websocket closed", "");
    send_event(app, &leave).await.expect(200);
}

async fn restored_to_new(world: &World, app: &Replica) {
    world.join("player-7", "new", "");
    let request = json!({"room_id": ROOM, "peer_id": "new"});
    let answer = restore(app, &request).await.expect(200).json();
    assert_eq!(answer["restored"], true, "{answer}");
}

/// The peer whose state a resume returns, and the second of its change.
async fn resumed(app: &Replica) -> (Value, Value) {
    let state = app.resume("player-7").await.expect(200).json();
    (state["peer_id"].clone(), state["changed_at"].clone())
}

fn at(peer: &str, second: u32) -> (Value, Value) {
    (
        json!(peer),
        json!(format!("2026-12-01T12:00:{second:02}.000000Z")),
    )
}

#[tokio::test]
async fn a_source_that_is_dated_later_takes_the_restored_peer_along() {
    let (world, app) = world().await;
    world.join("player-7", "old", "");
    send_event(&app, &join_event("old", JOINED, "one"))
        .await
        .expect(200);
    set_at(&world, &app, 10, "old", "two").await;
    world.drop_peer("old");
    dropped(&app, "old", 12).await;
    restored_to_new(&world, &app).await;
    assert_eq!(
        resumed(&app).await,
        at("new", 0),
        "dated to the ghost's last other metadata"
    );

    let mut late = join_event("old", JOINED, "one");
    late["type"] = "role.change.success".into();
    late["data"]["role_changed_at"] = "2026-12-01T12:00:05Z".into();
    send_event(&app, &late).await.expect(200);
    assert_eq!(resumed(&app).await, at("new", 5));
}

#[tokio::test]
async fn a_source_that_is_dated_back_takes_the_restored_peer_along() {
    let (world, app) = world().await;
    world.join("player-7", "old", "");
    world.join("player-7", "phone", "");
    set_at(&world, &app, 8, "phone", "phone's").await;
    set_at(&world, &app, 10, "old", "old's").await;
    world.drop_peer("old");
    restored_to_new(&world, &app).await;
    app.snapshot("new").await.expect(200);
    assert_eq!(resumed(&app).await, at("new", 10));

    dropped(&app, "old", 12).await;
    assert_eq!(
        resumed(&app).await,
        at("phone", 8),
        "the ghost changed nothing after its drop"
    );
}
