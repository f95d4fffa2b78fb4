//! Which states are announced: those that a resume returns, each once.

use std::time::Duration;

use insta::assert_json_snapshot;
use rejoin::config::WatchArgs;
use serde_json::{Value, json};

use super::{DROP, own, saved, with_events, world};
use crate::forwards::{Endpoint, PATIENCE, count, forwarding_to};
use crate::support::wait::until_within;
use crate::support::webhooks::{join_event, leave_event, send_event};
use crate::support::world::{Setup, World};

#[tokio::test]
async fn a_state_is_announced_once_however_it_is_saved() {
    let (world, endpoint, app) = world(true).await;
    world.join("player-7", "p", "");
    world.set("p", "a snapshot");
    for _ in 0..2 {
        assert!(app.snapshot("p").await.status.is_success());
    }
    world.set("p", "one of the room");
    for _ in 0..2 {
        app.snapshot_room().await.expect(200);
    }
    send_event(&app, &join_event("q", 5, "a webhook"))
        .await
        .expect(200);
    world.clock.advance(Duration::from_secs(10));
    world.set("p", "a look");
    let watching = Setup {
        watches: WatchArgs::active("5s", "100/s"),
        ..with_events(&endpoint, true)
    };
    let _watching = world.replica(watching).await;
    until_within(PATIENCE, "the look is saved", async || {
        app.resumed_metadata("player-7").await == "a look"
    })
    .await;
    world.set("p", "");
    app.snapshot("p").await.expect(201);
    assert_json_snapshot!(saved(&world, &endpoint).await, @r#"
    [
      [
        "p",
        "a snapshot",
        "2026-12-01T12:00:01.000000Z"
      ],
      [
        "p",
        "one of the room",
        "2026-12-01T12:00:02.000000Z"
      ],
      [
        "q",
        "a webhook",
        "2026-12-01T12:00:05.000000Z"
      ],
      [
        "p",
        "a look",
        "2026-12-01T12:00:13.000000Z"
      ],
      [
        "p",
        "",
        "2026-12-01T12:00:14.000000Z"
      ]
    ]
    "#);
}

#[tokio::test]
async fn what_does_not_change_what_a_resume_returns_is_not_announced() {
    let (world, endpoint, app) = world(true).await;
    send_event(&app, &join_event("new", 30, "newest"))
        .await
        .expect(200);
    // Late, of another peer and of the same.
    send_event(&app, &join_event("old", 0, "older"))
        .await
        .expect(200);
    let mut late = join_event("new", 20, "late");
    late["type"] = json!("role.change.success");
    late["data"]["role_changed_at"] = json!("2026-12-01T12:00:25Z");
    send_event(&app, &late).await.expect(200);
    // Nothing of its own.
    send_event(&app, &join_event("empty", 40, ""))
        .await
        .expect(200);
    // Another user's.
    let mut other = join_event("other", 50, "another user's");
    other["data"]["user_id"] = json!("player-8");
    send_event(&app, &other).await.expect(200);
    let rows = count(&world.database.pool().await, "snapshots").await;
    assert_eq!(rows, 5, "all of them are saved");
    assert_json_snapshot!(saved(&world, &endpoint).await, @r#"
    [
      [
        "new",
        "newest",
        "2026-12-01T12:00:30.000000Z"
      ],
      [
        "other",
        "another user's",
        "2026-12-01T12:00:50.000000Z"
      ]
    ]
    "#);
}

#[tokio::test]
async fn a_ghost_that_is_dated_back_makes_the_state_behind_it_the_saved_one() {
    for is_known in [true, false] {
        let (world, endpoint, app) = world(true).await;
        let joins = [join_event("a", 0, ""), join_event("b", 30, "of b")];
        for join in joins {
            send_event(&app, &join).await.expect(200);
        }
        world.join("player-7", "a", "of a");
        world.clock.advance(Duration::from_secs(40));
        app.snapshot("a").await.expect(201);
        let pool = world.database.pool().await;
        if !is_known {
            // As if there had been no events until now.
            let sql = "DELETE FROM announced_states";
            sqlx::query(sql).execute(&pool).await.unwrap();
        }
        // It was a ghost since 11:59:50.
        let leave = leave_event("a", 0, 50, DROP, "of a");
        send_event(&app, &leave).await.expect(200);
        assert_eq!(app.resumed_metadata("player-7").await, "of b");
        let saved = saved(&world, &endpoint).await.into_iter();
        let metadata: Vec<Value> = saved.map(|event| event[1].clone()).collect();
        assert_eq!(metadata, ["of b", "of a", "of b"], "{is_known}");
    }
}

#[tokio::test]
async fn what_was_saved_before_the_setting_is_not_announced() {
    let world = World::new().await;
    let endpoint = Endpoint::new().await;
    let before = world.replica(forwarding_to(&endpoint)).await;
    send_event(&before, &join_event("p", 30, "before"))
        .await
        .expect(200);
    let app = world.replica(with_events(&endpoint, true)).await;
    // It changes nothing of what a resume returns.
    send_event(&app, &join_event("late", 0, "late"))
        .await
        .expect(200);
    send_event(&app, &join_event("late-too", 1, "late too"))
        .await
        .expect(200);
    assert_eq!(own(&world, &endpoint).await, [] as [Value; 0]);
    send_event(&app, &join_event("q", 40, "after"))
        .await
        .expect(200);
    let saved = saved(&world, &endpoint).await;
    assert_eq!(saved.len(), 1);
    assert_eq!(saved[0][1], "after");
}

/// A user plays on many peers at once, through both replicas: the events of the states have the order
/// of their changes, and the last one is what a resume returns.
#[tokio::test]
async fn two_replicas_announce_each_state_once_and_in_order() {
    let world = World::new().await;
    let endpoint = Endpoint::new().await;
    let replicas = [
        world.replica(with_events(&endpoint, true)).await,
        world.replica(with_events(&endpoint, true)).await,
    ];
    let mut sends = tokio::task::JoinSet::new();
    for second in 0..50 {
        for user in ["player-1", "player-2"] {
            let app = replicas[(second % 2) as usize].clone();
            let mut join = join_event(&format!("p{second}"), second, &format!("state {second}"));
            join["data"]["user_id"] = json!(user);
            sends.spawn(async move { send_event(&app, &join).await.expect(200) });
        }
    }
    while let Some(sent) = sends.join_next().await {
        sent.unwrap();
    }
    let events = own(&world, &endpoint).await;
    for user in ["player-1", "player-2"] {
        let times: Vec<&str> = events
            .iter()
            .filter(|event| event["data"]["user_id"] == user)
            .map(|event| event["timestamp"].as_str().unwrap())
            .collect();
        assert!(times.is_sorted_by(|one, next| one < next), "{times:?}");
        assert_eq!(times.last(), Some(&"2026-12-01T12:00:49.000000Z"));
    }
}

/// What the leave said is what the join had said, so it was not of the leave's time.
#[tokio::test]
async fn a_join_that_arrives_after_its_leave_makes_the_state_behind_it_the_saved_one() {
    let (world, endpoint, app) = world(true).await;
    for event in [
        join_event("q", 5, "of q"),
        leave_event("p", 0, 9, "left", "of p"),
        join_event("p", 0, "of p"),
        join_event("p", 0, "of p"),
    ] {
        send_event(&app, &event).await.expect(200);
    }
    assert_eq!(app.resumed_metadata("player-7").await, "of q");
    let saved = saved(&world, &endpoint).await.into_iter();
    let metadata: Vec<Value> = saved.map(|event| event[1].clone()).collect();
    assert_eq!(metadata, ["of q", "of p", "of q"]);
}

#[tokio::test]
async fn states_are_announced_without_any_webhook() {
    let world = World::new().await;
    let endpoint = Endpoint::new().await;
    let setup = Setup {
        webhooks: Setup::default().webhooks,
        ..with_events(&endpoint, true)
    };
    let app = world.replica(setup).await;
    world.join("player-7", "p", "hp 71");
    app.snapshot("p").await.expect(201);
    assert_eq!(saved(&world, &endpoint).await.len(), 1);
}
