//! The settings of the ordering rules, each where it makes a difference.

use std::time::Duration;

use rejoin::config::RestoreArgs;
use rejoin::domain::{LeaveMetadata, Rules};
use rejoin::store::StoreConfig;
use serde_json::Value;

use crate::support::wait;
use crate::support::webhooks::{join_event, leave_event, send_event, send_webhooks};
use crate::support::world::{Replica, Setup, World};

/// A world with one replica that takes webhooks and follows these rules.
async fn world_with(rules: Rules) -> (World, Replica) {
    let world = World::new().await;
    let app = world.replica(setup(rules)).await;
    (world, app)
}

fn setup(rules: Rules) -> Setup {
    let usual = Setup::with_webhooks();
    Setup {
        store: StoreConfig {
            rules,
            ..usual.store
        },
        ..usual
    }
}

fn with_empty(empty: &str) -> Rules {
    Rules {
        empty: vec![empty.into()],
        ..Rules::default()
    }
}

async fn metadata(app: &Replica) -> Value {
    let answer = app.resume("player-7").await;
    match answer.status.as_u16() {
        404 => Value::Null,
        _ => answer.expect(200).json()["metadata_raw"].clone(),
    }
}

#[tokio::test]
async fn what_counts_as_empty_replaces_no_state_of_another_peer() {
    for (rules, resumed) in [(with_empty("{}"), "hp 71"), (Rules::default(), "{}")] {
        let (world, app) = world_with(rules).await;
        world.join("player-7", "old", "hp 71");
        app.snapshot("old").await.expect(201);
        world.clock.advance(Duration::from_secs(5));
        world.join("player-7", "new", "{}");
        app.snapshot("new").await.expect(201);
        assert_eq!(metadata(&app).await, resumed);
    }
}

#[tokio::test]
async fn a_state_that_is_set_to_what_counts_as_empty_is_cleared() {
    let (world, app) = world_with(with_empty("{}")).await;
    world.join("player-7", "old", "hp 71");
    app.snapshot("old").await.expect(201);
    world.clock.advance(Duration::from_secs(5));
    world.set("old", "{}");
    app.snapshot("old").await.expect(201);
    assert_eq!(metadata(&app).await, Value::Null);
}

#[tokio::test]
async fn a_join_with_what_counts_as_empty_gets_its_state_back_automatically() {
    let world = World::new().await;
    let app = world
        .replica(Setup {
            restores: RestoreArgs::at("dropped"),
            ..setup(with_empty("{}"))
        })
        .await;
    send_webhooks(&world.sim, &app.base);
    world.join("player-7", "old", "{}");
    world.set("old", "hp 71");
    app.snapshot("old").await.expect(201);
    world.drop_peer_reported("old", hms_sim::LeaveAt::Drop);
    world.join("player-7", "new", "{}");
    wait::until("the state is back", async || {
        world.clock.advance(Duration::from_millis(200));
        world.metadata_of("new") == "hp 71"
    })
    .await;
}

#[tokio::test]
async fn the_metadata_of_a_leave_counts_where_it_is_trusted() {
    for (leave_metadata, resumed) in [
        (LeaveMetadata::Cautious, Value::from("hp 71")),
        (LeaveMetadata::Trust, Value::Null),
    ] {
        let rules = Rules {
            leave_metadata,
            ..Rules::default()
        };
        let (_world, app) = world_with(rules).await;
        send_event(&app, &join_event("old", 0, "hp 71"))
            .await
            .expect(200);
        send_event(&app, &leave_event("old", 0, 9, "left", ""))
            .await
            .expect(200);
        assert_eq!(metadata(&app).await, resumed, "{leave_metadata:?}");
    }
}

#[tokio::test]
async fn without_the_rule_of_ghosts_a_change_counts_when_it_is_first_observed() {
    for (seconds, resumed) in [(60, "phone's"), (0, "old's")] {
        let rules = Rules {
            ghost: chrono::TimeDelta::seconds(seconds),
            ..Rules::default()
        };
        let (world, app) = world_with(rules).await;
        world.join("player-7", "old", "old's");
        world.join("player-7", "phone", "phone's");
        world.clock.advance(Duration::from_secs(5));
        app.snapshot("phone").await.expect(201);
        world.clock.advance(Duration::from_secs(5));
        app.snapshot("old").await.expect(201);
        assert_eq!(metadata(&app).await, "old's");
        send_event(&app, &leave_event("old", 0, 30, "websocket closed", ""))
            .await
            .expect(200);
        assert_eq!(metadata(&app).await, resumed, "REJOIN_GHOST={seconds}s");
    }
}
