//! The moments that matter: what an event says is worth fetching at once.

use std::time::Duration;

use serde_json::json;

use super::{lists, until_watched, world};
use crate::support::wait::until;
use crate::support::webhooks::{join_event, send_event};
use crate::support::world::{ROOM, World};

const OF_USER: Option<&str> = Some("user_id=player-7");

async fn until_fetched(world: &World) {
    let pool = world.database.pool().await;
    until("the fetches are done", async || {
        let sql = "SELECT count(*) > 0 AND bool_and(due_at IS NULL) FROM fetch_jobs";
        sqlx::query_scalar::<_, Option<bool>>(sql)
            .fetch_one(&pool)
            .await
            .unwrap()
            == Some(true)
    })
    .await;
}

/// The last chance to see what the ghost has.
#[tokio::test]
async fn a_join_beside_a_ghost_has_the_ghost_fetched_at_once() {
    let (world, app) = world("1h").await;
    world.join("player-7", "old", "");
    until_watched(&app).await;
    world.set("old", "hp 71");
    world.drop_peer("old");
    assert_eq!(lists(&world, OF_USER), 0);
    world.join("player-7", "new", "");
    until_fetched(&world).await;
    assert_eq!(lists(&world, OF_USER), 1);
    assert_eq!(app.resumed_metadata("player-7").await, "hp 71");
}

#[tokio::test]
async fn an_event_causes_one_fetch_however_often_it_comes() {
    let (world, app) = world("1h").await;
    world.join("player-7", "old", "");
    until_watched(&app).await;
    world.clock.advance(Duration::from_secs(9));
    world.sim.set_webhook_target(None);
    world.join("player-7", "new", "");
    let join = join_event("new", 9, "");
    for _ in 0..3 {
        send_event(&app, &join).await.expect(200);
        until_fetched(&world).await;
    }
    assert_eq!(lists(&world, OF_USER), 1);
    // An older one, of the other peer.
    send_event(&app, &join_event("old", 0, ""))
        .await
        .expect(200);
    until_fetched(&world).await;
    assert_eq!(lists(&world, OF_USER), 1);
}

#[tokio::test]
async fn a_lone_join_and_a_room_that_is_not_watched_cause_none() {
    let (world, app) = world("1h").await;
    world.join("player-7", "p", "");
    until_watched(&app).await;
    world.join_in("other", "player-7", "elsewhere", "");
    let pool = world.database.pool().await;
    let jobs = async || -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM fetch_jobs")
            .fetch_one(&pool)
            .await
            .unwrap()
    };
    until("both events came", async || {
        world.sim.pending_deliveries() == 0
    })
    .await;
    assert_eq!(jobs().await, 0);
    sqlx::query("DELETE FROM watches")
        .execute(&pool)
        .await
        .unwrap();
    let role_change = json!({
        "type": "role.change.success", "timestamp": "2026-12-01T12:00:01Z",
        "data": {"user_id": "player-7", "room_id": ROOM, "peer_id": "p", "role": "judge", "role_changed_at": "2026-12-01T12:00:01Z"},
    });
    send_event(&app, &role_change).await.expect(200);
    assert_eq!(jobs().await, 0);
}

#[tokio::test]
async fn a_role_change_has_its_peer_fetched() {
    let (world, app) = world("1h").await;
    world.join("player-7", "p", "");
    until_watched(&app).await;
    world.set("p", "hp 71");
    let update = hms_sim::Update {
        role: Some("judge".to_owned()),
        ..hms_sim::Update::default()
    };
    world.sim.update(ROOM, "p", update).unwrap();
    until_fetched(&world).await;
    let history = app.history("player-7").await;
    assert!(
        history.column("source").contains(&json!("peer")),
        "{}",
        history.text
    );
}
