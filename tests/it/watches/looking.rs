//! What begins and ends a watch, and what a look does.

use std::time::Duration;

use hms_sim::{Fault, FaultRule, Operation};
use rejoin::domain::{LookOutcome, ProblemCode, RoomId, WatchInterval};
use rejoin::store::{LookResult, NewWatch, Store};
use reqwest::Method;
use serde_json::json;

use super::{WATCH, first_look, lists, make_due, until_not_watched, until_watched, world};
use crate::support::store::store;
use crate::support::wait::until;
use crate::support::webhooks::{join_event, send_event};
use crate::support::world::{Answer, ROOM, Setup, World};

#[tokio::test]
async fn a_watched_room_is_saved_without_any_webhook_or_request() {
    let world = World::new().await;
    let setup = Setup {
        has_chores: true,
        ..Setup::default()
    };
    let app = world.replica(setup).await;
    world.join("player-7", "p", "");
    world.set("p", "hp 71");
    Answer::to(app.request(Method::PUT, WATCH))
        .await
        .expect(201);
    let look = first_look(&app).await;
    assert_eq!(
        [&look["outcome"], &look["peers"], &look["changes"]],
        [&json!("ok"), &json!(1), &json!(1)]
    );
    assert_eq!(app.resumed_metadata("player-7").await, "hp 71");
}

#[tokio::test]
async fn a_join_begins_the_watch_of_its_room_and_the_end_of_the_session_ends_it() {
    let (world, app) = world("1h").await;
    world.join("player-7", "p", "");
    until_watched(&app).await;
    let watch = app.get(WATCH).await.json();
    assert_eq!(
        [&watch["automatic"], &watch["every"], &watch["requested_by"]],
        [&json!(true), &json!("1h"), &json!(null)]
    );
    world.clock.advance(Duration::from_secs(1));
    world.sim.end_room(ROOM, None).unwrap();
    until_not_watched(&app).await;
    // An event of the session that is over.
    send_event(&app, &join_event("late", 0, ""))
        .await
        .expect(200);
    app.get(WATCH).await.expect(404);
    // The next session.
    world.clock.advance(Duration::from_secs(1));
    world.join("player-7", "q", "");
    until_watched(&app).await;
    // The end of the session before, again.
    let end = json!({"type": "room.end.success", "timestamp": "2026-12-01T12:00:01Z", "data": {"room_id": ROOM}});
    send_event(&app, &end).await.expect(200);
    app.get(WATCH).await.expect(200);
}

#[tokio::test]
async fn a_watch_that_somebody_asked_for_outlasts_the_session() {
    let (world, app) = world("1h").await;
    world.join("player-7", "p", "");
    until_watched(&app).await;
    Answer::to(app.request(Method::PUT, WATCH))
        .await
        .expect(200);
    let end = json!({"type": "room.end.success", "timestamp": "2026-12-01T12:30:00Z", "data": {"room_id": ROOM}});
    send_event(&app, &end).await.expect(200);
    assert_eq!(app.get(WATCH).await.expect(200).json()["automatic"], false);
}

#[tokio::test]
async fn rooms_that_no_webhook_reported_are_found_in_the_list_of_sessions() {
    let world = World::new().await;
    for room in 0..120 {
        world.join_in(
            &format!("room-{room}"),
            "player-7",
            &format!("p{room}"),
            "hp 1",
        );
    }
    let setup = Setup {
        watches: rejoin::config::WatchArgs::active("1h", "1000/s"),
        ..Setup::default()
    };
    let app = world.replica(setup).await;
    until("all rooms are watched", async || {
        app.get("/v1/watches?limit=500").await.json()["watches"]
            .as_array()
            .unwrap()
            .len()
            == 120
    })
    .await;
}

#[tokio::test]
async fn a_look_that_finds_nothing_new_writes_nothing() {
    let (world, app) = world("1h").await;
    world.join("player-7", "p", "hp 71");
    world.join("player-8", "q", "");
    until_watched(&app).await;
    make_due(&world).await;
    first_look(&app).await;
    let pool = world.database.pool().await;
    let rows = async || -> Vec<String> {
        let sql =
            "SELECT xmin::text FROM peers UNION ALL SELECT xmin::text FROM snapshots ORDER BY 1";
        sqlx::query_scalar(sql).fetch_all(&pool).await.unwrap()
    };
    let looks = async || lists(&world, None);
    let look_again = async || {
        let before = looks().await;
        make_due(&world).await;
        until("another look", async || looks().await > before).await;
        until("it ended", async || {
            app.get(WATCH).await.json()["state"] == "waiting"
        })
        .await;
    };
    let before = rows().await;
    world.clock.advance(Duration::from_secs(59));
    look_again().await;
    assert_eq!(rows().await, before);
    world.clock.advance(Duration::from_secs(2));
    look_again().await;
    assert_ne!(rows().await, before);
    let observed = app.resume("player-7").await.json()["last_observed_at"].clone();
    assert_eq!(observed, "2026-12-01T12:01:01.000000Z");
}

/// Begins the watch of [`ROOM`], and returns its id.
async fn watched(store: &Store) -> RoomId {
    let room_id = RoomId::parse(ROOM).unwrap();
    let watch = NewWatch {
        room_id: room_id.clone(),
        every: WatchInterval::DEFAULT,
        until: None,
        requested_by: None,
    };
    store.put_watch(watch).await.unwrap();
    room_id
}

#[tokio::test]
async fn a_room_that_is_not_active_at_three_looks_is_watched_no_more() {
    let world = World::new().await;
    let store = store(world.database.url());
    let pool = world.database.pool().await;
    let room_id = watched(&store).await;
    let look = async |code: Option<ProblemCode>, minutes: i32| {
        sqlx::query("UPDATE watches SET due_at = now(), inactive_at = inactive_at - make_interval(mins => $1)")
            .bind(minutes)
            .execute(&pool)
            .await
            .unwrap();
        let looks = store.take_looks(10, Duration::from_secs(10)).await.unwrap();
        let result = LookResult {
            outcome: LookOutcome(code),
            peers: 0,
            changes: 0,
        };
        store.finish_look(&looks[0], result).await.unwrap()
    };
    let inactive = Some(ProblemCode::RoomNotActive);
    for (code, minutes) in [
        (inactive, 0),
        (inactive, 1),
        (inactive, 3),
        // What is no answer says nothing.
        (Some(ProblemCode::UpstreamTimeout), 3),
        // Active again.
        (None, 0),
        (inactive, 0),
        (inactive, 3),
    ] {
        assert!(!look(code, minutes).await, "{code:?}");
    }
    assert!(look(inactive, 3).await);
    assert_eq!(store.watch(&room_id).await.unwrap(), None);
}

/// The schedule neither drifts nor catches up, and a look that lost its lease ends nothing.
#[tokio::test]
async fn the_next_look_is_whole_intervals_after_the_one_before() {
    let world = World::new().await;
    let store = store(world.database.url());
    let pool = world.database.pool().await;
    let room_id = watched(&store).await;
    let ok = LookResult {
        outcome: LookOutcome::OK,
        peers: 1,
        changes: 0,
    };
    for (late, intervals) in [
        ("3 seconds", 1),
        ("29 seconds", 1),
        ("31 seconds", 2),
        ("1 hour", 121),
    ] {
        sqlx::query("UPDATE watches SET next_look_at = now() - $1::text::interval, due_at = now()")
            .bind(late)
            .execute(&pool)
            .await
            .unwrap();
        let before = store.watch(&room_id).await.unwrap().unwrap().next_look_at;
        let lost = store.take_looks(10, Duration::ZERO).await.unwrap();
        let look = store.take_looks(10, Duration::from_secs(10)).await.unwrap();
        assert_eq!((lost.len(), look.len()), (1, 1));
        assert!(
            store
                .take_looks(10, Duration::from_secs(10))
                .await
                .unwrap()
                .is_empty()
        );
        assert!(
            !store
                .renew_look(&lost[0], Duration::from_secs(10))
                .await
                .unwrap()
        );
        assert!(
            store
                .renew_look(&look[0], Duration::from_secs(10))
                .await
                .unwrap()
        );
        store.finish_look(&lost[0], ok).await.unwrap();
        assert_eq!(
            store.watch(&room_id).await.unwrap().unwrap().next_look_at,
            before
        );
        store.finish_look(&look[0], ok).await.unwrap();
        let after = store.watch(&room_id).await.unwrap().unwrap();
        assert_eq!(
            after.next_look_at.since(before),
            Duration::from_secs(30 * intervals),
            "{late}"
        );
    }
}

#[tokio::test]
async fn a_look_for_a_watch_that_ended_changes_nothing_of_the_next_one() {
    let world = World::new().await;
    let store = store(world.database.url());
    let room_id = watched(&store).await;
    let lease = Duration::from_secs(10);
    let old = store.take_looks(10, lease).await.unwrap();
    assert!(store.delete_watch(&room_id).await.unwrap());
    watched(&store).await;
    let new = store.take_looks(10, lease).await.unwrap();
    assert!(!store.renew_look(&old[0], lease).await.unwrap());
    let result = LookResult {
        outcome: LookOutcome::OK,
        peers: 1,
        changes: 0,
    };
    store.finish_look(&old[0], result).await.unwrap();
    assert!(store.renew_look(&new[0], lease).await.unwrap());
}

#[tokio::test]
async fn a_failed_look_says_why_and_is_repeated_soon() {
    let (world, app) = world("1h").await;
    world.join("player-7", "p", "");
    until_watched(&app).await;
    world
        .sim
        .set_faults([FaultRule::always(Operation::Peers, Fault::Status(500))]);
    make_due(&world).await;
    assert_eq!(first_look(&app).await["outcome"], "upstream-unavailable");
    let pool = world.database.pool().await;
    let soon: bool = sqlx::query_scalar(
        "SELECT due_at < now() + interval '31 seconds' AND next_look_at > now() + interval '59 minutes' FROM watches",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert!(soon);
    world.sim.set_faults([]);
    sqlx::query("UPDATE watches SET due_at = now()")
        .execute(&pool)
        .await
        .unwrap();
    until("it is looked at again", async || {
        app.get(WATCH).await.json()["last_look"]["outcome"] == "ok"
    })
    .await;
    let on_schedule: bool =
        sqlx::query_scalar("SELECT next_look_at BETWEEN now() + interval '59 minutes' AND now() + interval '1 hour' FROM watches")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert!(on_schedule);
}
