//! Events of restores, by a join and with a lost answer, and of users who are erased.

use std::time::Duration;

use hms_sim::{Fault, FaultRule, Operation};
use rejoin::config::RestoreArgs;
use serde_json::{Value, json};

use super::{DROP, own, with_events, world};
use crate::forwards::{Endpoint, PATIENCE, count};
use crate::support::wait::until_within;
use crate::support::webhooks::{join_event, leave_event, send_event};
use crate::support::world::{ROOM, Setup, World};

#[tokio::test]
async fn an_automatic_restore_is_announced_once_and_is_no_new_state() {
    let world = World::new().await;
    let endpoint = Endpoint::new().await;
    let setup = || Setup {
        restores: RestoreArgs::at("dropped"),
        ..with_events(&endpoint, false)
    };
    let replicas = [world.replica(setup()).await, world.replica(setup()).await];
    send_event(&replicas[0], &join_event("old", 0, "hp 71"))
        .await
        .expect(200);
    let leave = leave_event("old", 0, 9, DROP, "hp 71");
    send_event(&replicas[1], &leave).await.expect(200);
    world.clock.advance(Duration::from_secs(10));
    world.join("player-7", "new", "");
    for replica in &replicas {
        let join = join_event("new", 10, "");
        send_event(replica, &join).await.expect(200);
    }
    until_within(PATIENCE, "it is restored", async || {
        world.metadata_of("new") == "hp 71"
    })
    .await;
    let pool = world.database.pool().await;
    until_within(PATIENCE, "the job is done", async || {
        count(&pool, "restore_jobs").await == 0
    })
    .await;
    let own = own(&world, &endpoint).await;
    let types: Vec<&str> = own
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        types,
        [
            "rejoin.state.saved",
            "rejoin.peer.dropped",
            "rejoin.state.restored"
        ]
    );
    assert_eq!(own[2]["data"]["automatic"], true);
    assert_eq!(own[2]["data"]["to_peer_id"], "new");
    assert_eq!(own[2]["data"]["peer_id"], "old");
}

/// The answer was lost, but the state is there: the next request finds it.
#[tokio::test]
async fn a_restore_whose_answer_was_lost_is_announced_once_it_is_found() {
    let (world, endpoint, app) = world(true).await;
    send_event(&app, &join_event("old", 0, "hp 71"))
        .await
        .expect(200);
    world.clock.advance(Duration::from_secs(10));
    world.join("player-7", "new", "");
    let cut = FaultRule::always(Operation::Update, Fault::CutBody);
    world.sim.set_faults([cut]);
    let path = "/v1/users/player-7/resume";
    let restore = json!({"room_id": ROOM, "peer_id": "new"});
    app.post_json(path, &restore).await.expect(502);
    world.sim.set_faults([]);
    assert_eq!(restored(own(&world, &endpoint).await), [] as [Value; 0]);
    world.clock.advance(Duration::from_secs(1));
    app.snapshot("new").await.expect(201);
    for _ in 0..2 {
        let found = app.post_json(path, &restore).await.expect(200);
        assert_eq!(found.json()["why"], "same-peer", "{}", found.text);
    }
    let own = own(&world, &endpoint).await;
    assert_eq!(own.len(), 2, "the state is no new one: {own:?}");
    let restored = restored(own);
    let data = &restored[0];
    assert_eq!(
        [
            &data["peer_id"],
            &data["to_peer_id"],
            &data["metadata_raw"],
            &data["automatic"]
        ],
        [&json!("old"), &json!("new"), &json!("hp 71"), &json!(false)]
    );
}

/// The data of each `rejoin.state.restored`.
fn restored(events: Vec<Value>) -> Vec<Value> {
    let restored = events.into_iter();
    let restored = restored.filter(|event| event["type"] == "rejoin.state.restored");
    restored.map(|event| event["data"].clone()).collect()
}
