//! The ordering rules through the store: generated observations, in random order, through two replicas at once.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use rejoin::domain::{
    Label, Metadata, Observation, PeerId, PeerKey, RoomId, Source, Timestamp, Tracks, UserId,
};
use rejoin::store::{HistoryQuery, ResumeQuery, Span, Store, StoreConfig};
use uuid::Uuid;

use crate::support::postgres;

pub(crate) fn store(url: &str) -> Store {
    Store::new(
        url.parse().unwrap(),
        StoreConfig {
            save_lanes: 2,
            resume_lanes: 2,
            other_connections: 2,
            ..StoreConfig::default()
        },
    )
}

pub(crate) fn at(second: i64) -> Timestamp {
    chrono::DateTime::from_timestamp(1_800_000_000 + second, 0)
        .unwrap()
        .into()
}

/// One sight of one of a user's few peers, small enough numbers that times and contents collide.
#[derive(Debug, Clone)]
pub(crate) struct Sight {
    peer: usize,
    second: i64,
    metadata: Option<&'static str>,
}

const PEERS: usize = 4;

impl Sight {
    pub(crate) fn observation(&self, user: &UserId) -> Observation {
        let room = ["cave", "tower"][self.peer % 2];
        let peer = PeerId::parse(&format!("peer-{}", self.peer)).unwrap();
        Observation {
            key: PeerKey::new(user.clone(), RoomId::parse(room).unwrap(), peer).unwrap(),
            observed_at: at(self.second),
            source: Source::Room,
            metadata: self.metadata.map_or(Metadata::NONE, Metadata::from_text),
            name: Some(Label::new("seven")),
            role: Some(Label::new("player")),
            tracks: None,
            // Peers 1 and 2 joined at the same instant.
            joined_at: Some(at([0, 5, 5, 9][self.peer])),
        }
    }
}

pub(crate) fn sights() -> impl Strategy<Value = Vec<Sight>> {
    let metadata = prop::sample::select(vec![
        None,
        Some(""),
        Some("a"),
        Some("b"),
        Some("{\"hp\": 1}"),
    ]);
    let sight = (0..PEERS, 0i64..12, metadata).prop_map(|(peer, second, metadata)| Sight {
        peer,
        second,
        metadata,
    });
    prop::collection::vec(sight, 1..24)
}

/// Another order of the same sights, in which those of one peer keep theirs.
fn interleaved(sights: &[Sight], picks: &[Index]) -> Vec<Sight> {
    let mut queues: BTreeMap<usize, std::collections::VecDeque<Sight>> = BTreeMap::new();
    for sight in sights {
        queues
            .entry(sight.peer)
            .or_default()
            .push_back(sight.clone());
    }
    let mut order = Vec::new();
    for pick in picks.iter().cycle() {
        let open: Vec<usize> = queues
            .iter()
            .filter(|(_, queue)| !queue.is_empty())
            .map(|(peer, _)| *peer)
            .collect();
        if open.is_empty() {
            break;
        }
        order.extend(
            queues
                .get_mut(&open[pick.index(open.len())])
                .unwrap()
                .pop_front(),
        );
    }
    order
}

/// What resume must say, told from the rules alone: which peer, since when, with what.
fn expected(
    sights: &[Sight],
    room: Option<&str>,
    excluded: Option<usize>,
) -> Option<(usize, i64, String)> {
    let candidate = |peer: usize| {
        let (mut newest, mut current, mut changed) = (i64::MIN, "", None);
        for sight in sights.iter().filter(|sight| sight.peer == peer) {
            if sight.second > newest {
                newest = sight.second;
                let metadata = sight.metadata.unwrap_or("");
                if metadata != current {
                    (current, changed) = (metadata, Some(sight.second));
                }
            }
        }
        changed.map(|changed| (changed, [0, 5, 5, 9][peer], peer, current.to_owned()))
    };
    (0..PEERS)
        .filter(|peer| {
            room.is_none_or(|room| room == ["cave", "tower"][peer % 2]) && excluded != Some(*peer)
        })
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

pub(crate) fn new_user() -> UserId {
    UserId::parse(&format!("user-{}", Uuid::new_v4().simple())).unwrap()
}

/// Runs `case` for generated inputs, on one runtime and one database.
pub(crate) fn for_generated<S: Strategy>(
    cases: u32,
    strategy: &S,
    case: &impl AsyncFn(&str, S::Value),
) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = runtime.block_on(postgres::database());
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(strategy, |value| {
        runtime.block_on(case(database.url(), value));
        Ok(())
    });
    drop(database);
    outcome.unwrap();
}

#[test]
fn resume_is_the_latest_change_of_metadata() {
    for_generated(150, &sights(), &async |url, sights| {
        let (store, user) = (store(url), new_user());
        let mut before = None;
        for (count, sight) in sights.iter().enumerate() {
            store.save(sight.observation(&user)).await.unwrap();
            let now = resumed(&store, &user, None, None).await;
            assert_eq!(now, expected(&sights[..=count], None, None));
            let changed = now.map(|(_, changed, _)| changed);
            assert!(changed >= before, "resume stepped back to an older change");
            before = changed;
        }
        for room in [None, Some("cave"), Some("tower")] {
            for excluded in [None, Some(0), Some(1), Some(2), Some(3)] {
                assert_eq!(
                    resumed(&store, &user, room, excluded).await,
                    expected(&sights, room, excluded)
                );
            }
        }
    });
}

#[test]
fn the_interleaving_of_peers_does_not_matter_nor_through_which_replica() {
    let strategy = (
        sights(),
        prop::collection::vec(any::<Index>(), 24),
        prop::collection::vec(any::<bool>(), 24),
    );
    for_generated(60, &strategy, &async |url, (sights, picks, replicas)| {
        let (one, two) = (store(url), store(url));
        let (user, other) = (new_user(), new_user());
        for (sight, first) in sights.iter().zip(replicas.iter().cycle()) {
            let through = if *first { &one } else { &two };
            through.save(sight.observation(&user)).await.unwrap();
        }
        for (sight, first) in interleaved(&sights, &picks)
            .iter()
            .zip(replicas.iter().rev().cycle())
        {
            let through = if *first { &one } else { &two };
            through.save(sight.observation(&other)).await.unwrap();
        }
        let outcome = resumed(&one, &user, None, None).await;
        assert_eq!(outcome, expected(&sights, None, None));
        assert_eq!(resumed(&two, &other, None, None).await, outcome);
    });
}

/// All at once, in batches, through two replicas that fight over the same rows: nothing is lost, no row is doubled.
#[test]
fn concurrent_saves_of_one_user_keep_every_observation_once() {
    for_generated(40, &sights(), &async |url, sights| {
        let (one, two, user) = (store(url), store(url), new_user());
        // Of one peer, sights at different times only: their outcome then depends on no order of arrival but lateness.
        let saves = sights.iter().enumerate().map(|(place, sight)| {
            let through = if place % 2 == 0 { &one } else { &two };
            through.save(sight.observation(&user))
        });
        for saved in futures_util::future::join_all(saves).await {
            saved.unwrap();
        }
        let rows = history(&one, &user).await;
        for sight in &sights {
            let seen = sight.observation(&user);
            let told = rows.iter().filter(|row| {
                row.key == seen.key
                    && row.metadata == seen.metadata
                    && row.first_observed_at <= seen.observed_at
                    && row.last_observed_at >= seen.observed_at
            });
            assert!(told.count() >= 1, "{sight:?} is in no row of history");
        }
        let mut ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), rows.len());

        // Once more, in any order: not a row more, and the state stays.
        let state = resumed(&one, &user, None, None).await;
        for sight in sights.iter().rev() {
            two.save(sight.observation(&user)).await.unwrap();
        }
        assert_eq!(history(&one, &user).await, rows);
        assert_eq!(resumed(&one, &user, None, None).await, state);
    });
}

/// Rows that are added, passed at once, and extended, in one batch and over two: history is what was answered, and tracks
/// are of rows that the peer endpoint told only, though the state carries them on.
#[tokio::test]
async fn history_is_what_was_answered_whatever_a_batch_holds() {
    let database = postgres::database().await;
    let (store, user) = (store(database.url()), new_user());
    let seen = |peer, second, metadata, tracks: Option<&str>| Observation {
        source: if tracks.is_some() {
            Source::Peer
        } else {
            Source::Room
        },
        tracks: tracks.and_then(Tracks::from_wire),
        ..Sight {
            peer,
            second,
            metadata: Some(metadata),
        }
        .observation(&user)
    };
    let muted = Some(r#"{"t":{"mute":true}}"#);
    let first = vec![
        seen(0, 1, "a", muted),
        seen(0, 2, "b", None),
        seen(0, 3, "b", None),
        seen(0, 4, "c", Some("{}")),
        seen(1, 1, "a", muted),
    ];
    let second = vec![
        seen(0, 5, "c", None),
        seen(0, 6, "d", None),
        seen(1, 2, "a", None),
        seen(2, 1, "a", None),
    ];
    let third = vec![seen(1, 3, "b", None), seen(2, 3, "b", muted)];
    let mut answered = BTreeMap::new();
    for batch in [first, second, third] {
        for saved in store.save_all(batch).await {
            let row = saved.unwrap().snapshot;
            answered.insert(row.id, row);
        }
    }
    let kept: BTreeMap<Uuid, _> = history(&store, &user)
        .await
        .into_iter()
        .map(|row| (row.id, row))
        .collect();
    assert_eq!(kept, answered);
    let with_tracks = kept.values().filter(|row| row.tracks.is_some()).count();
    assert_eq!((kept.len(), with_tracks), (8, 4));
}

pub(crate) async fn history(store: &Store, user: &UserId) -> Vec<rejoin::domain::Snapshot> {
    let span = Span::Between {
        since: None,
        until: None,
    };
    let query = HistoryQuery {
        user_id: user.clone(),
        room_id: None,
        peer_id: None,
        span,
        limit: 500,
        after: None,
    };
    store.history(&query).await.unwrap().snapshots
}
