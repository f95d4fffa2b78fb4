//! Two replicas at once on one database.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use hms_sim::WireMetadata;
use rejoin::store::{Store, StoreConfig};

use crate::support::postgres;
use crate::support::store::{make_partitions, new_user, saved_state};
use crate::support::world::{ROOM, Setup, World};

#[tokio::test]
async fn a_snapshot_through_one_is_resumed_through_the_other_at_once() {
    let world = World::new().await;
    let replicas = [
        world.replica(Setup::default()).await,
        world.replica(Setup::default()).await,
    ];
    world.join("player-7", "peer-1", "0");
    for number in 1..=150 {
        world.set("peer-1", &number.to_string());
        let (one, other) = (&replicas[number % 2], &replicas[(number + 1) % 2]);
        one.snapshot("peer-1").await.expect(201);
        assert_eq!(other.resumed_metadata("player-7").await, number.to_string());
    }
}

#[tokio::test]
async fn snapshots_of_the_same_peers_through_both_lose_nothing_and_never_step_back() {
    const PLAYERS: usize = 4;
    const CHANGES: usize = 40;
    let world = World::new().await;
    let replicas = [
        world.replica(Setup::default()).await,
        world.replica(Setup::default()).await,
    ];
    let done: Vec<AtomicUsize> = (0..PLAYERS).map(|_| AtomicUsize::new(0)).collect();
    for player in 0..PLAYERS {
        let peer = format!("peer-{player}");
        world.join(&format!("player-{player}"), &peer, "0");
        // With its tracks, which only this endpoint knows: their first mention begins a row.
        replicas[0].snapshot(&peer).await.expect(201);
    }
    let playing = (0..PLAYERS).map(async |player| {
        let (user, peer) = (format!("player-{player}"), format!("peer-{player}"));
        for change in 1..=CHANGES {
            // No two observations of different states at one instant: their order would be
            // undefined.
            world.clock.advance(Duration::from_millis(1));
            world
                .sim
                .set_metadata(ROOM, &peer, WireMetadata::text(&change.to_string()))
                .unwrap();
            world.clock.advance(Duration::from_millis(1));
            let (one, other, room) = tokio::join!(
                replicas[0].snapshot(&peer),
                replicas[1].snapshot(&peer),
                replicas[change % 2].snapshot_room()
            );
            for answer in [one, other] {
                assert!(answer.status.is_success(), "{}", answer.text);
                assert_eq!(answer.json()["metadata_raw"], change.to_string());
            }
            assert_eq!(room.expect(200).json()["skipped"], serde_json::json!([]));
            for replica in &replicas {
                assert_eq!(replica.resumed_metadata(&user).await, change.to_string());
            }
        }
        done[player].store(1, Ordering::SeqCst);
    });
    // Whoever only resumes never gets an older state than before, through either replica.
    let watching = async {
        let (mut newest, mut resumes) = (0, 0);
        while done[0].load(Ordering::SeqCst) == 0 {
            resumes += 1;
            let answer = replicas[resumes % 2].resume("player-0").await;
            if answer.status != 404 {
                let now: usize = answer.expect(200).json()["metadata_raw"]
                    .as_str()
                    .unwrap()
                    .parse()
                    .unwrap();
                assert!(now >= newest, "{now} after {newest}");
                newest = now;
            }
        }
    };
    tokio::join!(join_all(playing), watching);
    for player in 0..PLAYERS {
        let path = format!("/v1/users/player-{player}/snapshots?limit=500");
        let history = replicas[0].get(&path).await.expect(200);
        let states: Vec<usize> = history
            .column("metadata_raw")
            .iter()
            .map(|state| state.as_str().unwrap().parse().unwrap())
            .collect();
        assert_eq!(
            states
                .iter()
                .filter(|state| **state > 0)
                .copied()
                .collect::<Vec<_>>(),
            (1..=CHANGES).rev().collect::<Vec<_>>()
        );
    }
}

#[tokio::test]
async fn snapshots_of_one_peer_through_both_at_once_are_one_row() {
    const AT_ONCE: usize = 64;
    let world = World::new().await;
    let replicas = [
        world.replica(Setup::default()).await,
        world.replica(Setup::default()).await,
    ];
    for number in 0..100 {
        let (user, peer) = (format!("player-{number}"), format!("peer-{number}"));
        world.join(&user, &peer, "unchanged");
        let answers = join_all((0..AT_ONCE).map(async |snapshot| {
            world.clock.advance(Duration::from_millis(1));
            replicas[snapshot % 2].snapshot(&peer).await
        }))
        .await;
        for answer in answers {
            assert!(answer.status.is_success(), "{}", answer.text);
        }
        let history = replicas[0].history(&user).await.expect(200);
        assert_eq!(history.column("metadata_raw"), ["unchanged"], "{user}");
    }
}

#[tokio::test]
async fn many_migrate_one_empty_database_at_once() {
    let database = postgres::empty_database().await;
    let stores: Vec<Store> = (0..4)
        .map(|_| Store::new(database.url().parse().unwrap(), &StoreConfig::default()))
        .collect();
    join_all(stores.iter().map(async |store| {
        store.migrate().await.unwrap();
        make_partitions(store, rejoin::domain::Clock::system().now()).await;
    }))
    .await;
    assert_eq!(saved_state(&stores[0], &new_user()).await, None);
}
