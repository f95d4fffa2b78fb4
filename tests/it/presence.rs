//! Presence where sessions end: the same before and after the peers are marked, and as cheap with
//! many dead peers as with one.

use proptest::prelude::*;
use rejoin::domain::{
    End, EndKind, EventKind, EventReport, Label, Metadata, Observation, PeerId, PeerKey, Presence,
    RoomId, SavedState, Source, Timestamp, UserId,
};
use rejoin::store::{Store, StoreConfig, UnseenPeer};
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::generated::for_generated;
use crate::support::postgres::{self, Database};
use crate::support::store::{new_user, saved_state};
use crate::support::wait::until;
use crate::support::webhooks::{join_event, send_event};
use crate::support::world::{Setup, World};

const PEERS: usize = 3;

/// What happens to the peers of one user in one room. Times are tenths of seconds.
#[derive(Debug, Clone)]
enum Step {
    Join {
        peer: usize,
        at: i64,
        session: Option<usize>,
    },
    Leave {
        peer: usize,
        at: i64,
    },
    /// The REST API reports when it joined.
    Observed {
        peer: usize,
        joined_at: i64,
    },
    EndSession {
        session: Option<usize>,
        at: i64,
    },
    /// Its session at 100ms says that it left.
    Depart {
        peer: usize,
        at: i64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let session = || prop::option::of(0..2usize);
    let at = || prop_oneof![(0i64..6).prop_map(|second| second * 10), 0i64..60];
    let step = prop_oneof![
        3 => (0..PEERS, at(), session())
            .prop_map(|(peer, at, session)| Step::Join { peer, at, session }),
        1 => (0..PEERS, at()).prop_map(|(peer, at)| Step::Leave { peer, at }),
        1 => (0..PEERS, at()).prop_map(|(peer, joined_at)| Step::Observed { peer, joined_at }),
        2 => (session(), at()).prop_map(|(session, at)| Step::EndSession { session, at }),
        1 => (0..PEERS, at()).prop_map(|(peer, at)| Step::Depart { peer, at }),
    ];
    prop::collection::vec(step, 1..12)
}

fn at(tenths: i64) -> Timestamp {
    chrono::DateTime::from_timestamp_millis(1_800_000_000_000 + tenths * 100)
        .unwrap()
        .into()
}

fn session_id(session: Option<usize>) -> Option<Label> {
    session.map(|session| Label::new(&format!("session-{session}")))
}

async fn take(store: &Store, user: &UserId, room: &RoomId, step: &Step) {
    let key = |peer: usize| {
        let peer_id = PeerId::parse(&format!("peer-{peer}")).unwrap();
        PeerKey::new(user.clone(), room.clone(), peer_id).unwrap()
    };
    let metadata = |peer: usize| Metadata::from_text(format!("of {peer}"));
    match step {
        Step::Join {
            peer,
            at: joined,
            session,
        } => {
            let joined = at(*joined);
            let join = EventReport {
                metadata: Some(metadata(*peer)),
                joined_at: Some(joined),
                presence: Presence {
                    connected_since: Some(joined),
                    session_id: session_id(*session),
                    ended: None,
                },
                ..EventReport::new(key(*peer), EventKind::Join, joined)
            };
            store.report(join.into()).await.unwrap();
        }
        Step::Leave { peer, at: left } => {
            let leave = EventReport {
                presence: Presence {
                    connected_since: None,
                    session_id: None,
                    ended: Some(End {
                        at: at(*left),
                        kind: EndKind::Dropped,
                        reason: None,
                    }),
                },
                ..EventReport::new(key(*peer), EventKind::Leave, at(*left))
            };
            store.report(leave.into()).await.unwrap();
        }
        Step::Observed { peer, joined_at } => {
            let observation = Observation {
                joined_at: Some(at(*joined_at)),
                ..Observation::new(key(*peer), at(70), Source::Room, metadata(*peer))
            };
            store.save(observation).await.unwrap();
        }
        Step::EndSession { session, at: ended } => store
            .end_session(room, session_id(*session).as_ref(), at(*ended), None)
            .await
            .unwrap(),
        Step::Depart { peer, at: left } => {
            let peer = UnseenPeer {
                user_id: user.clone(),
                peer_id: key(*peer).peer_id,
            };
            let departed = vec![(peer, Some(at(*left)))];
            store
                .settle_unseen_peers(room.clone(), departed)
                .await
                .unwrap();
        }
    }
}

/// A store that reads presence, on a database of its own.
async fn store_with_presence() -> (Store, Database) {
    let database = postgres::database().await;
    let config = StoreConfig {
        presence: true,
        ..StoreConfig::default()
    };
    let store = Store::new(database.url().parse().unwrap(), &config);
    (store, database)
}

#[test]
fn presence_is_the_same_whenever_peers_are_marked() {
    let shared = async { (store_with_presence().await, store_with_presence().await) };
    for_generated(
        96,
        &steps(),
        shared,
        &async |((marking, _), (reading, _)), steps| {
            let user = new_user();
            let room = RoomId::parse(&Uuid::new_v4().simple().to_string()).unwrap();
            for step in &steps {
                take(marking, &user, &room, step).await;
                marking.end_peers().await.unwrap();
                take(reading, &user, &room, step).await;
                let [marked, read]: [Option<SavedState>; 2] = [
                    saved_state(marking, &user).await,
                    saved_state(reading, &user).await,
                ];
                assert_eq!(
                    marked.map(|state| state.presence),
                    read.map(|state| state.presence),
                    "{steps:?}"
                );
            }
        },
    );
}

/// What webhooks report of a peer and what its session says may come in any order.
#[test]
fn presence_is_the_same_whenever_departures_are_found() {
    let joined = (0..PEERS).map(|peer| Step::Join {
        peer,
        at: 0,
        session: None,
    });
    let joined: Vec<Step> = joined.collect();
    for_generated(
        96,
        &steps(),
        store_with_presence(),
        &async |(store, _), steps| {
            let mut found = Vec::new();
            for steps in [steps.clone(), steps.iter().rev().cloned().collect()] {
                let user = new_user();
                let room = RoomId::parse(&Uuid::new_v4().simple().to_string()).unwrap();
                for step in joined.iter().chain(&steps) {
                    take(store, &user, &room, step).await;
                }
                let presence = saved_state(store, &user).await.unwrap().presence;
                let connected = presence.connected_peers.into_iter();
                let connected: Vec<_> = connected.map(|peer| peer.peer_id).collect();
                found.push((presence.peer, connected));
            }
            assert_eq!(found[0], found[1], "{steps:?}");
        },
    );
}

async fn count(pool: &PgPool, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(pool).await.unwrap()
}

const UNMARKED: &str =
    "SELECT count(*) FROM peers WHERE connected_since IS NOT NULL AND ended_at IS NULL
    AND NOT ended_with_session";

/// However many peers of a user ended with their sessions, in however many rooms: they are marked,
/// and no resume reads them.
#[tokio::test]
async fn dead_peers_are_marked_and_not_read() {
    let world = World::new().await;
    let setup = Setup {
        has_chores: true,
        ..Setup::with_webhooks()
    };
    let app = world.replica(setup).await;
    let pool = world.database.pool().await;
    for statement in [
        "INSERT INTO peers (user_id, room_id, peer_id, version, snapshot_id, source, metadata_raw, joined_at,
                            first_observed_at, last_observed_at, connected_since, session_id)
         SELECT 'player-7', 'room-' || n % 7, 'dead-' || n, 1, gen_random_uuid(), 'webhook', '', t.at, t.at, t.at, t.at,
                's-' || n % 100
         FROM generate_series(1, 3000) AS n, LATERAL (SELECT timestamptz '2026-11-01' + n * interval '1 s' AS at) AS t",
        "INSERT INTO session_ends (room_id, session_id, ended_at)
         SELECT DISTINCT room_id, session_id, timestamptz '2026-11-02' FROM peers",
    ] {
        sqlx::query(statement).execute(&pool).await.unwrap();
    }
    assert_eq!(count(&pool, UNMARKED).await, 3_000);
    send_event(&app, &join_event("alive", 0, "{\"hp\":71}"))
        .await
        .expect(200);
    // The end of any session has all that are due looked for.
    let mut end = join_event("another", 0, "");
    end["type"] = "session.close.success".into();
    end["data"] = serde_json::json!({
        "room_id": "elsewhere", "session_id": "s", "session_stopped_at": "2026-12-01T12:00:00Z",
    });
    send_event(&app, &end).await.expect(200);
    until("the dead peers are marked", async || {
        count(&pool, UNMARKED).await == 1
    })
    .await;
    let state = app.resume("player-7").await.expect(200).json();
    assert_eq!(state["presence"]["status"], "connected");
    assert_eq!(state["connected_peers"].as_array().unwrap().len(), 1);

    sqlx::query("VACUUM ANALYZE peers")
        .execute(&pool)
        .await
        .unwrap();
    let mut connection = pool.acquire().await.unwrap();
    for setting in [
        "plan_cache_mode = force_generic_plan",
        "enable_seqscan = off",
    ] {
        let set = sqlx::AssertSqlSafe(format!("SET {setting}"));
        sqlx::query(set).execute(&mut *connection).await.unwrap();
    }
    let statement = include_str!("../../src/store/queries/resume_with_presence.sql")
        .replace(": Vec<LivePeer>", "");
    let prepare = format!("PREPARE resume(text[], text[]) AS {statement}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(prepare))
        .execute(&mut *connection)
        .await
        .unwrap();
    let explain = "EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF, SUMMARY OFF)
        EXECUTE resume(ARRAY['player-7'], ARRAY[NULL])";
    let plan: Vec<String> = sqlx::query_scalar(explain)
        .fetch_all(&mut *connection)
        .await
        .unwrap();
    let plan = plan.join("\n");
    assert!(plan.contains("peers_live"), "{plan}");
    let hits = plan.split_once("Buffers: shared hit=").unwrap().1;
    let hits: u32 = hits
        .split(|character: char| !character.is_ascii_digit())
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(hits < 40, "{plan}");
}
