//! The ordering rules through the store: generated observations, in random order, through two
//! replicas at once.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;
use rejoin::domain::{Observation, PeerId, Report, RoomId, Source, Tracks, UserId};
use rejoin::store::{ResumeQuery, Store};
use uuid::Uuid;

use crate::support::generated::for_generated;
use crate::support::postgres::{self, Database};
use crate::support::store::{
    PEERS, SampleObservation, at, history, joined_second_of, new_user, room_of,
    sample_observations, store,
};

/// The same observations in another order.
fn shuffled(observations: &[SampleObservation], picks: &[Index]) -> Vec<SampleObservation> {
    let mut remaining = observations.to_vec();
    let mut order = Vec::new();
    for pick in picks.iter().cycle() {
        if remaining.is_empty() {
            break;
        }
        order.push(remaining.remove(pick.index(remaining.len())));
    }
    order
}

/// What a resume must return, by the rules alone: which peer, since when, with what metadata.
fn expected(
    observations: &[SampleObservation],
    room: Option<&str>,
    excluded: Option<usize>,
) -> Option<(usize, i64, String)> {
    let candidate = |peer: usize| {
        let mut of_peer: Vec<(i64, &str)> = observations
            .iter()
            .filter(|observation| observation.peer == peer)
            .map(|observation| (observation.second, observation.metadata.unwrap_or("")))
            .collect();
        of_peer.sort_by_key(|(second, metadata)| (*second, !metadata.is_empty(), *metadata));
        let (mut current, mut changed) = ("", None);
        for (second, metadata) in of_peer {
            if metadata != current {
                (current, changed) = (metadata, Some(second));
            }
        }
        changed.map(|changed| (changed, joined_second_of(peer), peer, current.to_owned()))
    };
    (0..PEERS)
        .filter(|peer| room.is_none_or(|room| room == room_of(*peer)) && excluded != Some(*peer))
        .filter_map(candidate)
        .max()
        .map(|(changed, _, peer, metadata)| (peer, changed, metadata))
}

async fn resumed(
    store: &Store,
    user: &UserId,
    room: Option<&str>,
    excluded: Option<usize>,
) -> Option<(usize, i64, String)> {
    let query = ResumeQuery {
        user_id: user.clone(),
        room_id: room.map(|room| RoomId::parse(room).unwrap()),
        exclude_peer_id: excluded.map(|peer| PeerId::parse(&format!("peer-{peer}")).unwrap()),
    };
    store.resume(query).await.unwrap().map(|state| {
        let peer = state
            .key
            .peer_id
            .as_str()
            .trim_start_matches("peer-")
            .parse()
            .unwrap();
        let second = i64::try_from(state.changed_at.seconds_since(at(0))).unwrap();
        (peer, second, state.metadata.raw().unwrap_or("").to_owned())
    })
}

#[test]
fn resume_is_the_latest_change_of_metadata() {
    for_generated(
        150,
        &sample_observations(),
        postgres::database(),
        &async |database: &Database, observations| {
            let (store, user) = (store(database.url()), new_user());
            for (count, observation) in observations.iter().enumerate() {
                store.save(observation.of(&user)).await.unwrap();
                let now = resumed(&store, &user, None, None).await;
                assert_eq!(now, expected(&observations[..=count], None, None));
            }
            for room in [None, Some("cave"), Some("tower")] {
                for excluded in [None, Some(0), Some(1), Some(2), Some(3)] {
                    assert_eq!(
                        resumed(&store, &user, room, excluded).await,
                        expected(&observations, room, excluded)
                    );
                }
            }
        },
    );
}

#[test]
fn neither_the_order_of_arrival_nor_the_replica_matters() {
    let strategy = (
        sample_observations(),
        prop::collection::vec(any::<Index>(), 24),
        prop::collection::vec(any::<bool>(), 24),
    );
    for_generated(
        60,
        &strategy,
        postgres::database(),
        &async |database: &Database, (observations, picks, replicas)| {
            let (one, two) = (store(database.url()), store(database.url()));
            let (user, other) = (new_user(), new_user());
            for (observation, first) in observations.iter().zip(replicas.iter().cycle()) {
                let through = if *first { &one } else { &two };
                through.save(observation.of(&user)).await.unwrap();
            }
            for (observation, first) in shuffled(&observations, &picks)
                .iter()
                .zip(replicas.iter().rev().cycle())
            {
                let through = if *first { &one } else { &two };
                through.save(observation.of(&other)).await.unwrap();
            }
            let outcome = resumed(&one, &user, None, None).await;
            assert_eq!(outcome, expected(&observations, None, None));
            assert_eq!(resumed(&two, &other, None, None).await, outcome);
        },
    );
}

/// All at once, in batches, through two replicas that compete for the same rows: no observation is
/// lost, and none makes two rows.
#[test]
fn concurrent_saves_of_one_user_store_every_observation_once() {
    for_generated(
        40,
        &sample_observations(),
        postgres::database(),
        &async |database: &Database, observations| {
            let (one, two, user) = (store(database.url()), store(database.url()), new_user());
            let saves = observations.iter().enumerate().map(|(index, observation)| {
                let through = if index % 2 == 0 { &one } else { &two };
                through.save(observation.of(&user))
            });
            for saved in futures_util::future::join_all(saves).await {
                saved.unwrap();
            }
            let rows = history(&one, &user).await;
            for observation in &observations {
                let expected = observation.of(&user);
                let is_stored = rows.iter().any(|row| {
                    row.key == expected.key
                        && row.metadata == expected.metadata
                        && row.first_observed_at <= expected.observed_at
                        && row.last_observed_at >= expected.observed_at
                });
                assert!(is_stored, "{observation:?} is in no row of history");
            }
            let mut ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), rows.len());

            // Again, in another order: no row is added, and the state stays.
            let state = resumed(&one, &user, None, None).await;
            for observation in observations.iter().rev() {
                two.save(observation.of(&user)).await.unwrap();
            }
            assert_eq!(history(&one, &user).await, rows);
            assert_eq!(resumed(&one, &user, None, None).await, state);
        },
    );
}

/// Current and intermediate rows that are added and extended, within one batch and across two:
/// history is what was answered. Only rows from the peer endpoint have tracks, although the state
/// retains them.
#[tokio::test]
async fn history_is_what_was_answered_whatever_a_batch_contains() {
    let database = postgres::database().await;
    let (store, user) = (store(database.url()), new_user());
    let observation = |peer, second, metadata, tracks: Option<&str>| Observation {
        source: if tracks.is_some() {
            Source::Peer
        } else {
            Source::Room
        },
        tracks: tracks.and_then(Tracks::from_wire),
        ..SampleObservation {
            peer,
            second,
            metadata: Some(metadata),
        }
        .of(&user)
    };
    let muted = Some(r#"{"t":{"mute":true}}"#);
    let first = vec![
        observation(0, 1, "a", muted),
        observation(0, 2, "b", None),
        observation(0, 3, "b", None),
        observation(0, 4, "c", Some("{}")),
        observation(1, 1, "a", muted),
    ];
    let second = vec![
        observation(0, 5, "c", None),
        observation(0, 6, "d", None),
        observation(1, 2, "a", None),
        observation(2, 1, "a", None),
    ];
    let third = vec![observation(1, 3, "b", None), observation(2, 3, "b", muted)];
    let mut answered = BTreeMap::new();
    for batch in [first, second, third] {
        for saved in store
            .save_all(batch.into_iter().map(Report::from).collect())
            .await
        {
            let row = saved.unwrap().snapshot;
            answered.insert(row.id, row);
        }
    }
    let stored: BTreeMap<Uuid, _> = history(&store, &user)
        .await
        .into_iter()
        .map(|row| (row.id, row))
        .collect();
    assert_eq!(stored, answered);
    let with_tracks = stored.values().filter(|row| row.tracks.is_some()).count();
    assert_eq!((stored.len(), with_tracks), (8, 4));
}
