//! The HTTP API when all goes well: whole bodies, filters, ETags and pages.

use std::time::Duration;

use crate::support::world::World;

#[tokio::test]
async fn a_peer_is_created_once_seen_again_and_created_anew_when_it_changed() {
    let (world, app) = World::with_app().await;
    world.join("player-7", "peer-1", r#"{"hp": 71}"#);
    app.snapshot("peer-1").await.expect(201);
    world.clock.pass(Duration::from_secs(5));
    app.snapshot("peer-1").await.expect(200);
}
