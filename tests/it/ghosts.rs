//! What the service is for: a player drops, joins again as an empty peer beside their ghost, and
//! gets their state back.

use std::time::Duration;

use hms_sim::{Join, WireMetadata};
use rejoin::domain::StoragePolicy;
use serde_json::Value;
use sqlx::Row;

use crate::support::world::{ROOM, Replica, Setup, World};

fn after(world: &World, seconds: u64) {
    world.clock.advance(Duration::from_secs(seconds));
}

/// The peer whose state is resumed, and its metadata.
async fn resumed(app: &Replica, query: &str) -> (String, String) {
    let state = app
        .get(&format!("/v1/users/player-7/resume{query}"))
        .await
        .expect(200)
        .json();
    let text = |name: &str| state[name].as_str().unwrap().to_owned();
    (text("peer_id"), text("metadata_raw"))
}

async fn nothing_is_resumed(app: &Replica) {
    assert_eq!(
        app.resume("player-7").await.expect(404).code(),
        "no-saved-metadata"
    );
}

async fn history(app: &Replica) -> Vec<Value> {
    let page = app.history("player-7").await.expect(200);
    page.column("metadata_raw")
}

fn is(peer: &str, metadata: &str) -> (String, String) {
    (peer.to_owned(), metadata.to_owned())
}

/// `old` plays and drops, and stays listed as a ghost. Five seconds later `new` joins, with what
/// the game sets at join.
async fn dropped_and_back(at_join: &str) -> (World, Replica) {
    let (world, app) = World::with_app().await;
    world.join("player-7", "old", "");
    world.set("old", "hp 71");
    app.snapshot("old").await.expect(201);
    world.drop_peer("old");
    after(&world, 5);
    world.join("player-7", "new", at_join);
    (world, app)
}

#[tokio::test]
async fn a_player_who_comes_back_beside_their_ghost_gets_their_state() {
    let (world, app) = dropped_and_back("").await;
    let room = app.snapshot_room().await.expect(200);
    assert_eq!(
        room.column("metadata_raw"),
        ["", "hp 71"],
        "the new peer and the ghost"
    );
    assert_eq!(resumed(&app, "").await, is("old", "hp 71"));
    // However often and in whatever way the empty peer is observed.
    after(&world, 1);
    app.snapshot("new").await;
    assert_eq!(resumed(&app, "").await, is("old", "hp 71"));

    world.set("new", "hp 50");
    app.snapshot("new").await.expect(201);
    assert_eq!(resumed(&app, "").await, is("new", "hp 50"));
    // The ghost is observed later than the update, but that is no change.
    after(&world, 1);
    app.snapshot("old").await.expect(200);
    app.snapshot_room().await.expect(200);
    assert_eq!(resumed(&app, "").await, is("new", "hp 50"));

    // The ghost disappears, then everyone leaves: what is saved stays.
    after(&world, 60);
    assert_eq!(
        app.snapshot("old").await.expect(404).code(),
        "peer-not-found"
    );
    world.sim.leave(ROOM, "new").unwrap();
    assert_eq!(
        app.snapshot("new").await.expect(404).code(),
        "room-not-active"
    );
    assert_eq!(resumed(&app, "").await, is("new", "hp 50"));
}

/// The state was never fetched before the drop, so the ghost is the last chance to save it.
#[tokio::test]
async fn the_ghost_itself_can_be_saved() {
    let (world, app) = World::with_app().await;
    world.join("player-7", "old", "hp 71");
    world.drop_peer("old");
    after(&world, 59);
    world.join("player-7", "new", "");
    nothing_is_resumed(&app).await;
    app.post(&format!("/v1/rooms/{ROOM}/snapshots?user_id=player-7"))
        .await
        .expect(200);
    assert_eq!(resumed(&app, "").await, is("old", "hp 71"));
}

#[tokio::test]
async fn a_clear_leaves_nothing_to_resume_until_something_is_set() {
    let (world, app) = dropped_and_back("").await;
    for cleared in [
        WireMetadata::text(""),
        WireMetadata::json("null").unwrap(),
        WireMetadata::absent(),
    ] {
        world.set("new", "hp 50");
        app.snapshot_room().await.expect(200);
        assert_eq!(resumed(&app, "").await, is("new", "hp 50"));
        after(&world, 1);
        world
            .sim
            .set_metadata(ROOM, "new", cleared.clone())
            .unwrap();
        app.snapshot("new").await.expect(201);
        nothing_is_resumed(&app).await;
        // Not even the ghost's state, when it is observed again.
        after(&world, 1);
        app.snapshot_room().await.expect(200);
        nothing_is_resumed(&app).await;
        let empty = cleared
            .as_raw()
            .map_or(Value::Null, |raw| serde_json::from_str(raw.get()).unwrap());
        let history = history(&app).await;
        assert_eq!(history[..2], [empty, "hp 50".into()]);
        assert_eq!(history.last().unwrap(), "hp 71");
    }
    world.set("new", "hp 100");
    app.snapshot("new").await.expect(201);
    assert_eq!(resumed(&app, "").await, is("new", "hp 100"));
}

#[tokio::test]
async fn a_peer_that_never_had_metadata_replaces_nothing() {
    let (world, app) = dropped_and_back("").await;
    // From `""` to null, back, and to absent: still nothing is set.
    for empty in [
        WireMetadata::json("null").unwrap(),
        WireMetadata::text(""),
        WireMetadata::absent(),
    ] {
        after(&world, 1);
        world.sim.set_metadata(ROOM, "new", empty).unwrap();
        app.snapshot("new").await.expect(201);
        assert_eq!(resumed(&app, "").await, is("old", "hp 71"));
    }
}

#[tokio::test]
async fn ties_go_to_the_later_join_then_to_the_greater_id() {
    let (world, app) = World::with_app().await;
    world.join("player-7", "z-first", "of z");
    after(&world, 1);
    world.join("player-7", "a-later", "of a");
    world.join("player-7", "b-later", "of b");
    // All three are first observed at the same instant.
    app.snapshot_room().await.expect(200);
    assert_eq!(resumed(&app, "").await, is("b-later", "of b"));
    assert_eq!(
        resumed(&app, "?exclude_peer_id=b-later").await,
        is("a-later", "of a")
    );
    assert_eq!(
        resumed(&app, &format!("?room_id={ROOM}&exclude_peer_id=b-later")).await,
        is("a-later", "of a")
    );
    world.set("z-first", "of z, changed");
    app.snapshot_room().await.expect(200);
    assert_eq!(resumed(&app, "").await, is("z-first", "of z, changed"));
}

#[tokio::test]
async fn of_two_devices_the_last_change_counts_whichever_is_observed_last() {
    let (world, app) = World::with_app().await;
    let other = world.replica(Setup::default()).await;
    world.join("player-7", "phone", "phone 0");
    world.join("player-7", "tablet", "tablet 0");
    app.snapshot_room().await.expect(200);
    for round in 1..4 {
        for device in ["phone", "tablet"] {
            let metadata = format!("{device} {round}");
            world.set(device, &metadata);
            app.snapshot(device).await.expect(201);
            after(&world, 1);
            other.snapshot_room().await.expect(200);
            for replica in [&app, &other] {
                assert_eq!(resumed(replica, "").await, is(device, &metadata));
            }
        }
    }
}

#[tokio::test]
async fn defaults_that_a_game_sets_at_join_can_be_excluded() {
    let (world, app) = dropped_and_back("defaults").await;
    app.snapshot_room().await.expect(200);
    assert_eq!(resumed(&app, "").await, is("new", "defaults"));
    assert_eq!(
        resumed(&app, "?exclude_peer_id=new").await,
        is("old", "hp 71")
    );
    let own = app.resume("player-7").await;
    let others = app
        .get("/v1/users/player-7/resume?exclude_peer_id=new")
        .await;
    assert_ne!(own.header("etag"), others.header("etag"));
    // The game restores the state; the next drop resumes from there.
    world.set("new", "hp 71, restored");
    app.snapshot("new").await.expect(201);
    world.join("player-7", "newest", "defaults");
    app.snapshot_room().await.expect(200);
    assert_eq!(
        resumed(&app, "?exclude_peer_id=newest").await,
        is("new", "hp 71, restored")
    );
}

#[tokio::test]
async fn names_are_in_neither_the_database_nor_the_answers_where_they_are_not_to_be_stored() {
    const NAME: &str = "Annika Hansen";
    let world = World::new().await;
    let storage_policy = StoragePolicy {
        max_metadata_bytes: 262_144,
        store_names: false,
    };
    let app = world
        .replica(Setup {
            storage_policy,
            ..Setup::default()
        })
        .await;
    let join = Join {
        peer_id: Some("peer-1".into()),
        name: Some(NAME.into()),
        ..Join::of("player-7")
    };
    world.join_as(join.with_metadata(WireMetadata::text("hp 71")));

    let mut answers = vec![app.snapshot("peer-1").await.expect(201)];
    after(&world, 1);
    let renamed = hms_sim::Update {
        name: Some(format!("{NAME} again")),
        ..hms_sim::Update::default()
    };
    world.sim.update(ROOM, "peer-1", renamed).unwrap();
    // Where names are not stored, another name is no change.
    answers.push(app.snapshot("peer-1").await.expect(200));
    answers.push(app.snapshot_room().await.expect(200));
    answers.push(app.resume("player-7").await.expect(200));
    answers.push(app.history("player-7").await.expect(200));
    for answer in &answers {
        assert!(
            answer.text.contains(r#""name":null"#) && !answer.text.contains("Annika"),
            "{}",
            answer.text
        );
    }

    let pool = world.database.pool().await;
    let relations = "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v')";
    let relations = sqlx::query(relations).fetch_all(&pool).await.unwrap();
    let mut stored = String::new();
    for relation in relations {
        let rows = format!(
            "SELECT coalesce(string_agg(r::text, ' '), '') FROM {} r",
            relation.get::<&str, _>(0)
        );
        stored += sqlx::query(sqlx::AssertSqlSafe(rows))
            .fetch_one(&pool)
            .await
            .unwrap()
            .get::<&str, _>(0);
    }
    assert!(
        stored.contains("player-7") && !stored.contains("Annika"),
        "{stored}"
    );
}
