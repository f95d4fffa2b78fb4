//! Compaction: rows of peers that no answer needs go, the others stay, history keeps all of them, and
//! no late report brings anything back.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use rejoin::domain::{
    End, EndKind, EventKind, EventReport, Label, LeaveMetadata, MIN_KEEP_PEERS, Metadata,
    NewForward, Observation, PeerId, PeerKey, Presence, Report, RoomId, Rules, SavedState, Source,
    Timestamp, UserId,
};
use rejoin::service::CompactionWorker;
use rejoin::store::{ResumeQuery, Span, Store, StoreConfig, UnseenPeer};
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::generated::for_generated;
use crate::support::postgres::{self, Database};
use crate::support::program::{Program, Upstream};
use crate::support::store::{compact, history, history_within, new_user, saved_state};
use crate::support::wait::until_within;
use crate::support::{command::settings, scrape::Scrape};

/// A store on a database of its own. Leaves have metadata.
struct Game {
    store: Store,
    pool: PgPool,
    now: DateTime<Utc>,
    database: Database,
}

impl Game {
    async fn new() -> Self {
        let database = postgres::database().await;
        Self {
            store: store(&database),
            pool: database.pool().await,
            now: Utc::now(),
            database,
        }
    }

    /// So many days ago.
    fn ago(&self, days: f64) -> Timestamp {
        #[expect(clippy::cast_possible_truncation, reason = "a few days")]
        let millis = (days * 86_400_000.0) as i64;
        (self.now - TimeDelta::milliseconds(millis)).into()
    }

    async fn report(&self, report: impl Into<Report>) {
        self.store.report(report.into()).await.unwrap();
    }

    /// Joins, with this metadata where there is any.
    async fn join(&self, key: &PeerKey, days_ago: f64, metadata: Option<&str>) {
        self.report(join(key, self.ago(days_ago), metadata)).await;
    }

    async fn leave(&self, key: &PeerKey, days_ago: f64) {
        self.report(leave(key, self.ago(days_ago), None)).await;
    }

    /// A peer that was there for a tenth of a day.
    async fn visit(&self, key: &PeerKey, left_days_ago: f64, metadata: Option<&str>) {
        self.join(key, left_days_ago + 0.1, metadata).await;
        self.leave(key, left_days_ago).await;
    }

    /// Compacts all, and returns how many rows went.
    async fn compact(&self) -> u64 {
        compact(&self.store).await
    }

    async fn execute(&self, statement: &'static str) {
        sqlx::query(statement).execute(&self.pool).await.unwrap();
    }

    /// The ids of the peers that are known.
    async fn peers(&self) -> BTreeSet<String> {
        let ids = sqlx::query_scalar("SELECT peer_id FROM peers");
        let ids: Vec<String> = ids.fetch_all(&self.pool).await.unwrap();
        ids.into_iter().collect()
    }

    async fn count(&self, table: &str) -> i64 {
        let count = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        sqlx::query_scalar(count)
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }
}

fn store(database: &Database) -> Store {
    let config = StoreConfig {
        presence: true,
        rules: Rules {
            leave_metadata: LeaveMetadata::Trust,
            ..Rules::default()
        },
        ..StoreConfig::default()
    };
    Store::new(database.url().parse().unwrap(), &config)
}

fn key(user: &UserId, room: &str, peer: &str) -> PeerKey {
    let (room, peer) = (RoomId::parse(room).unwrap(), PeerId::parse(peer).unwrap());
    PeerKey::new(user.clone(), room, peer).unwrap()
}

fn join(key: &PeerKey, at: Timestamp, metadata: Option<&str>) -> EventReport {
    EventReport {
        metadata: metadata.map(Metadata::from_text),
        joined_at: Some(at),
        presence: Presence {
            connected_since: Some(at),
            session_id: Some(Label::new(&format!("session-of-{}", key.peer_id.as_str()))),
            ended: None,
        },
        ..EventReport::new(key.clone(), EventKind::Join, at)
    }
}

fn leave(key: &PeerKey, at: Timestamp, metadata: Option<&str>) -> EventReport {
    EventReport {
        metadata: metadata.map(Metadata::from_text),
        presence: Presence {
            connected_since: None,
            session_id: None,
            ended: Some(End {
                at,
                kind: EndKind::Dropped,
                reason: None,
            }),
        },
        ..EventReport::new(key.clone(), EventKind::Leave, at)
    }
}

fn observed(key: &PeerKey, at: Timestamp, metadata: &str) -> Observation {
    Observation::new(key.clone(), at, Source::Room, Metadata::from_text(metadata))
}

/// What a resume with these filters returns.
async fn resumed(
    store: &Store,
    user: &UserId,
    room: Option<&str>,
    excluded: Option<&str>,
) -> Option<SavedState> {
    let query = ResumeQuery {
        user_id: user.clone(),
        room_id: room.map(|room| RoomId::parse(room).unwrap()),
        exclude_peer_id: excluded.map(|peer| PeerId::parse(peer).unwrap()),
    };
    store.resume(query).await.unwrap()
}

#[tokio::test]
async fn what_no_answer_needs_goes_and_the_rest_stays() {
    let game = Game::new().await;
    let mut stays = BTreeSet::new();
    let mut goes = BTreeSet::new();
    let user = new_user();
    let of_user = |peer: &str| key(&user, "cave", peer);

    // Of what has a state, the newest two of each room.
    for (peer, days_ago) in [
        ("newest", 32.0),
        ("second", 33.0),
        ("third", 34.0),
        ("fourth", 50.0),
    ] {
        game.visit(&of_user(peer), days_ago, Some(peer)).await;
    }
    game.visit(&key(&user, "tower", "of-another-room"), 60.0, Some("x"))
        .await;
    stays.extend(["newest", "second", "of-another-room"]);
    goes.extend(["third", "fourth"]);

    // Of what has none, all that ended long enough ago, however that is known.
    game.visit(&of_user("left"), 31.1, None).await;
    game.visit(&of_user("left-just-now"), 30.9, None).await;
    game.join(&of_user("connected"), 90.0, None).await;
    game.join(&of_user("departed"), 50.0, None).await;
    game.join(&of_user("departed-just-now"), 50.0, None).await;
    for (peer, days_ago) in [("departed", 40.0), ("departed-just-now", 20.0)] {
        let peer = UnseenPeer {
            user_id: user.clone(),
            peer_id: PeerId::parse(peer).unwrap(),
        };
        let departed = vec![(peer, Some(game.ago(days_ago)))];
        let room = RoomId::parse("cave").unwrap();
        game.store
            .settle_unseen_peers(room, departed)
            .await
            .unwrap();
    }
    goes.extend(["left", "departed"]);
    stays.extend(["left-just-now", "connected", "departed-just-now"]);
    for (peer, days_ago) in [("session-over", 40.0), ("session-just-over", 20.0)] {
        let room = RoomId::parse("hall").unwrap();
        game.join(&key(&user, "hall", peer), 50.0, None).await;
        let session = Label::new(&format!("session-of-{peer}"));
        let ended = game
            .store
            .end_session(&room, Some(&session), game.ago(days_ago), None);
        ended.await.unwrap();
    }
    game.store.end_peers().await.unwrap();
    goes.insert("session-over");
    stays.insert("session-just-over");

    // Of whom no webhook ever said anything, nobody knows that they left.
    let seen = observed(&of_user("only-seen"), game.ago(80.0), "");
    game.report(seen).await;
    // Who is seen after their end may have ended otherwise.
    game.visit(&of_user("seen-later"), 40.0, None).await;
    game.report(observed(&of_user("seen-later"), game.ago(10.0), ""))
        .await;
    stays.extend(["only-seen", "seen-later"]);

    // Where a restore may still be taken back, what it replaces stays.
    let active = new_user();
    for (peer, days_ago) in [("active-second", 33.0), ("active-third", 34.0)] {
        game.visit(&key(&active, "cave", peer), days_ago, Some(peer))
            .await;
    }
    game.join(&key(&active, "cave", "active"), 0.0, Some("now"))
        .await;
    stays.extend(["active", "active-second", "active-third"]);

    // While a job of the user waits, nothing of them goes.
    let waiting = new_user();
    game.visit(&key(&waiting, "cave", "of-waiting"), 40.0, None)
        .await;
    sqlx::query("INSERT INTO restore_jobs (user_id, room_id, peer_id, queued_at, due_at) VALUES ($1, 'cave', 'new', now(), now())")
        .bind(waiting.as_str())
        .execute(&game.pool)
        .await
        .unwrap();
    stays.insert("of-waiting");

    let before = history(&game.store, &user).await;
    let instant = Span::At(game.ago(34.05));
    let then = history_within(&game.store, &user, instant).await;
    assert!(then.iter().any(|row| row.key.peer_id.as_str() == "third"));
    assert_eq!(game.compact().await, goes.len() as u64);
    let expected: BTreeSet<String> = stays.iter().map(|&peer| peer.to_owned()).collect();
    assert_eq!(game.peers().await, expected);
    assert_eq!(history(&game.store, &user).await, before);
    assert_eq!(history_within(&game.store, &user, instant).await, then);
    assert_eq!(game.compact().await, 0);

    game.execute("DELETE FROM restore_jobs").await;
    assert_eq!(game.compact().await, 1);
    game.execute(
        "UPDATE peers SET last_observed_at = now() - interval '2 hours' WHERE peer_id = 'active'",
    )
    .await;
    assert_eq!(game.compact().await, 1);
    assert!(!game.peers().await.contains("active-third"));
}

/// As many peers as two steps look at, and the index that finds them.
#[tokio::test]
async fn peers_are_found_step_by_step_in_an_index() {
    let game = Game::new().await;
    game.execute(
        "INSERT INTO peers (user_id, room_id, peer_id, version, snapshot_id, source, first_observed_at, last_observed_at,
                            connected_since, ended_at, end_kind)
         SELECT 'user-' || n % 50, 'cave', 'peer-' || n, 1, '00000000-0000-0000-0000-000000000000', 'webhook', t.at, t.at,
                t.at, CASE WHEN n <= 20000 THEN t.at END, CASE WHEN n <= 20000 THEN 'left' END
         FROM generate_series(1, 20010) AS n,
              LATERAL (SELECT now() - CASE WHEN n <= 1200 THEN interval '40 days' ELSE interval '1 day' END AS at) AS t",
    )
    .await;
    game.execute("VACUUM ANALYZE peers").await;
    let mut connection = game.pool.acquire().await.unwrap();
    for statement in [
        "SET plan_cache_mode = force_generic_plan".to_owned(),
        format!(
            "PREPARE compact(float8, timestamptz, text, text, text, bigint) AS {}",
            include_str!("../../src/store/queries/compact_peers.sql")
        ),
    ] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
            .execute(&mut *connection)
            .await
            .unwrap();
    }
    let explain = "EXPLAIN (COSTS OFF) EXECUTE compact(2764800, 'epoch', '', '', '', 500)";
    let plan: Vec<String> = sqlx::query_scalar(explain)
        .fetch_all(&mut *connection)
        .await
        .unwrap();
    let plan = plan.join("\n");
    assert!(
        plan.contains("peers_ended") && !plan.contains("Seq Scan on peers"),
        "{plan}"
    );

    // All of them ended at one instant.
    let first = game
        .store
        .compact_peers(MIN_KEEP_PEERS, None)
        .await
        .unwrap();
    assert_eq!(first.deleted, 500);
    let second = game
        .store
        .compact_peers(MIN_KEEP_PEERS, first.position)
        .await
        .unwrap();
    assert_eq!(second.deleted, 500);
    assert_eq!(game.compact().await, 200);
    assert_eq!(game.count("peers").await, 20_010 - 1_200);
}

#[tokio::test]
async fn late_reports_of_what_is_gone_change_nothing() {
    let game = Game::new().await;
    let user = new_user();
    let gone = key(&user, "cave", "gone");
    let kept = key(&user, "cave", "kept");
    game.visit(&gone, 40.0, None).await;
    game.visit(&kept, 50.0, Some("kept")).await;
    // Where nothing is gone, what is as old is stored.
    assert_eq!(game.peers().await.len(), 2);
    assert_eq!(game.compact().await, 1);
    let before = (
        resumed(&game.store, &user, None, None).await,
        history(&game.store, &user).await,
    );

    let role_change = EventReport {
        role: Some(Label::new("admin")),
        metadata: Some(Metadata::from_text("of a role change")),
        ..EventReport::new(gone.clone(), EventKind::RoleChange, game.ago(40.05))
    };
    let forward = NewForward {
        id: Uuid::new_v4(),
        room_id: Some(gone.room_id.clone()),
        user_id: Some(user.clone()),
        headers: Vec::new(),
        body: Bytes::from_static(b"{}"),
    };
    let leaving = EventReport {
        forward: Some(Box::new(forward)),
        ..leave(&gone, game.ago(40.0), Some("of a leave"))
    };
    let joining = EventReport {
        restore_requested_at: Some(game.ago(0.0)),
        ..join(&gone, game.ago(40.1), None)
    };
    // A leave may be a little later than what ended the peer.
    let later = leave(&gone, game.ago(39.9), Some("of a later leave"));
    let snapshot = observed(&gone, game.ago(40.02), "of a snapshot");
    // Also of a peer that is there, and of one that was never known.
    let of_kept = leave(&kept, game.ago(49.0), Some("of a leave of another"));
    let of_unknown = leave(
        &key(&user, "cave", "unknown"),
        game.ago(45.0),
        Some("of an unknown"),
    );
    let reports: [Report; 7] = [
        joining.into(),
        leaving.into(),
        role_change.into(),
        later.into(),
        snapshot.into(),
        of_kept.into(),
        of_unknown.into(),
    ];
    for report in &reports {
        game.report(report.clone()).await;
    }
    // All in one batch, and through a replica that never knew the peer.
    let replica = store(&game.database);
    for saved in replica.save_all(reports.to_vec()).await {
        let _ = saved;
    }
    let after = (
        resumed(&game.store, &user, None, None).await,
        history(&game.store, &user).await,
    );
    assert_eq!(after, before);
    assert_eq!(game.peers().await, BTreeSet::from(["kept".to_owned()]));
    assert_eq!(game.count("restore_jobs").await, 0);
    // It is passed on all the same.
    assert_eq!(game.count("forwards").await, 1);

    // What 100ms may still send is stored.
    game.visit(&key(&user, "cave", "replayed"), 29.9, Some("replayed"))
        .await;
    let state = resumed(&game.store, &user, None, None).await.unwrap();
    assert_eq!(state.metadata.raw(), Some("replayed"));
}

#[tokio::test]
async fn what_somebody_has_locked_or_erases_is_left_alone() {
    let game = Game::new().await;
    let (user, other) = (new_user(), new_user());
    game.visit(&key(&user, "cave", "locked"), 40.0, None).await;
    game.visit(&key(&user, "cave", "free"), 40.0, None).await;
    game.visit(&key(&other, "cave", "erased"), 40.0, Some("x"))
        .await;
    game.visit(&key(&other, "cave", "erased-too"), 41.0, None)
        .await;
    let mut lock = game.pool.begin().await.unwrap();
    sqlx::query("SELECT FROM peers WHERE peer_id = 'locked' FOR KEY SHARE")
        .execute(&mut *lock)
        .await
        .unwrap();
    let mut erasure = game.pool.begin().await.unwrap();
    for statement in [
        "DELETE FROM peers WHERE user_id = $1",
        "DELETE FROM snapshots WHERE user_id = $1",
    ] {
        sqlx::query(statement)
            .bind(other.as_str())
            .execute(&mut *erasure)
            .await
            .unwrap();
    }
    assert_eq!(game.compact().await, 1);
    erasure.commit().await.unwrap();
    assert_eq!(game.peers().await, BTreeSet::from(["locked".to_owned()]));
    lock.rollback().await.unwrap();
    assert_eq!(game.compact().await, 1);
    // Of who was erased, nothing comes back either.
    game.report(leave(
        &key(&other, "cave", "erased"),
        game.ago(40.0),
        Some("x"),
    ))
    .await;
    assert_eq!(game.count("peers").await, 0);
    assert_eq!(saved_state(&game.store, &other).await, None);
}

#[tokio::test]
async fn one_replica_compacts_once_a_day() {
    let game = Game::new().await;
    let user = new_user();
    for peer in 0..20 {
        game.visit(&key(&user, "cave", &format!("peer-{peer}")), 40.0, None)
            .await;
    }
    let replicas = [&game.store.clone(), &store(&game.database)]
        .map(|store| CompactionWorker::new(store.clone(), MIN_KEEP_PEERS));
    let [one, other] = &replicas;
    let (one, other) = tokio::join!(one.compact(), other.compact());
    let mut deleted = [one.unwrap(), other.unwrap()];
    deleted.sort_unstable();
    assert_eq!(deleted, [0, 20]);
    game.visit(&key(&user, "cave", "another"), 40.0, None).await;
    assert_eq!(game.count("peers").await, 0, "its time is settled");
    game.execute("DELETE FROM compactions").await;
    game.visit(&key(&user, "cave", "another"), 40.0, None).await;
    assert_eq!(replicas[1].compact().await.unwrap(), 0, "it is done");
    game.execute("UPDATE duties SET done_at = done_at - interval '1 day'")
        .await;
    assert_eq!(replicas[1].compact().await.unwrap(), 1);

    // Even at the same time, each row goes once.
    game.execute("DELETE FROM compactions").await;
    for peer in 0..20 {
        game.visit(&key(&user, "cave", &format!("peer-{peer}")), 40.0, None)
            .await;
    }
    let other = store(&game.database);
    let (one, other) = tokio::join!(game.compact(), compact(&other));
    assert_eq!(one + other, 20);
}

#[tokio::test]
async fn a_running_service_compacts_unless_it_keeps_all() {
    let game = Game::new().await;
    let upstream = Upstream::start().await;
    let user = new_user();
    game.visit(&key(&user, "cave", "gone"), 40.0, None).await;
    let start = async |keep| {
        let mut variables = settings(game.database.url(), &upstream);
        variables.push(("REJOIN_KEEP_PEERS", keep));
        Program::start(&[], &variables).await
    };
    let keeping = start("off").await;
    let compacting = start("30days").await;
    let done = "SELECT count(*) FROM duties WHERE name = 'compaction' AND done_at IS NOT NULL";
    until_within(Duration::from_mins(1), "it is done", async || {
        let done = sqlx::query_scalar(done).fetch_one(&game.pool).await;
        done.ok() == Some(1_i64)
    })
    .await;
    assert_eq!(game.count("peers").await, 0);
    let series = "rejoin_compacted_rows_total{table=\"peers\"}";
    for (program, rows) in [(&compacting, "1"), (&keeping, "0")] {
        let scrape = Scrape::of(&program.app()).await;
        assert_eq!(scrape.series[series], rows);
    }
}

const PEERS: usize = 7;
const ROOMS: [&str; 2] = ["cave", "tower"];

/// How a peer ends, as far as anybody says.
#[derive(Debug, Clone, Copy)]
enum Ending {
    Left,
    SessionEnded,
    Departed,
    None,
}

/// A peer that is there from one day to another, counted back from now, and what is said of it.
#[derive(Debug, Clone)]
struct Visit {
    room: usize,
    from: f64,
    to: f64,
    ending: Ending,
    /// Each: whether it is said only after the compaction, when it was, and of what.
    said: Vec<(bool, f64, Option<&'static str>)>,
    ending_is_late: bool,
    last_metadata: Option<&'static str>,
}

fn visits() -> impl Strategy<Value = Vec<Visit>> {
    let metadata = || prop::sample::select(vec![None, Some(""), Some("a"), Some("b"), Some("c")]);
    let ending = prop::sample::select(vec![
        Ending::Left,
        Ending::Left,
        Ending::Left,
        Ending::SessionEnded,
        Ending::Departed,
        Ending::None,
    ]);
    let said = prop::collection::vec((any::<bool>(), 0.0..1.0f64, metadata()), 1..5);
    let days = (25.0..45.0f64, 0.0..4.0f64);
    let visit = (
        0..ROOMS.len(),
        days,
        ending,
        said,
        any::<bool>(),
        metadata(),
    );
    let visit = visit.prop_map(
        |(room, (to, length), ending, said, ending_is_late, last_metadata)| {
            let from = to + length;
            let said = said.into_iter();
            Visit {
                room,
                from,
                to,
                ending,
                said: said
                    .map(|(late, part, metadata)| (late, from - part * length, metadata))
                    .collect(),
                ending_is_late,
                last_metadata,
            }
        },
    );
    prop::collection::vec(visit, 1..=PEERS)
}

/// Reports what is reported before the compaction, or after it. What is settled by then is left out.
async fn report_visits(
    game: &Game,
    user: &UserId,
    visits: &[Visit],
    late: bool,
    settled: Option<Timestamp>,
) {
    let report = async |report: Report| {
        if Some(report.latest_at()) > settled {
            game.report(report).await;
        }
    };
    for (index, visit) in visits.iter().enumerate() {
        let peer = key(
            user,
            &format!("{}-{}", ROOMS[visit.room], user.as_str()),
            &format!("peer-{index}"),
        );
        if !late {
            report(join(&peer, game.ago(visit.from), None).into()).await;
        }
        for (_, days_ago, metadata) in visit.said.iter().filter(|said| said.0 == late) {
            let event = EventReport {
                metadata: metadata.map(Metadata::from_text),
                ..EventReport::new(peer.clone(), EventKind::RoleChange, game.ago(*days_ago))
            };
            report(event.into()).await;
        }
        let ended_at = game.ago(visit.to);
        match visit.ending {
            Ending::Left if visit.ending_is_late == late => {
                report(leave(&peer, ended_at, visit.last_metadata).into()).await;
            }
            // Its leave is late in any case.
            Ending::SessionEnded | Ending::Departed if late => {
                report(leave(&peer, ended_at, visit.last_metadata).into()).await;
            }
            Ending::SessionEnded => {
                let session = Label::new(&format!("session-of-peer-{index}"));
                let ended = game
                    .store
                    .end_session(&peer.room_id, Some(&session), ended_at, None);
                ended.await.unwrap();
                game.store.end_peers().await.unwrap();
            }
            Ending::Departed => {
                let unseen = UnseenPeer {
                    user_id: user.clone(),
                    peer_id: peer.peer_id.clone(),
                };
                let departed = vec![(unseen, Some(ended_at))];
                let settled = game
                    .store
                    .settle_unseen_peers(peer.room_id.clone(), departed);
                settled.await.unwrap();
            }
            Ending::Left | Ending::None => {}
        }
    }
}

/// All answers about a user, whatever the filters.
async fn answers(game: &Game, user: &UserId) -> Vec<Option<SavedState>> {
    let rooms = ROOMS.map(|room| format!("{room}-{}", user.as_str()));
    let rooms = [None, Some(rooms[0].as_str()), Some(rooms[1].as_str())];
    let peers: Vec<String> = (0..PEERS).map(|index| format!("peer-{index}")).collect();
    let excluded = || {
        [None]
            .into_iter()
            .chain(peers.iter().map(|peer| Some(peer.as_str())))
    };
    let mut answers = Vec::new();
    for room in rooms {
        for excluded in excluded() {
            answers.push(resumed(&game.store, user, room, excluded).await);
        }
    }
    answers
}

#[test]
fn answers_are_the_same_with_and_without_compaction() {
    let compacted = std::cell::Cell::new(0);
    let shared = async {
        let compacting = Game::new().await;
        let keeping = Game {
            now: compacting.now,
            ..Game::new().await
        };
        (compacting, keeping)
    };
    for_generated(
        96,
        &visits(),
        shared,
        &async |(compacting, keeping), visits| {
            let user = new_user();
            compacting.execute("DELETE FROM compactions").await;
            for game in [compacting, keeping] {
                report_visits(game, &user, &visits, false, None).await;
            }
            compacted.set(compacted.get() + compacting.compact().await);
            let settled = "SELECT settled_until FROM compactions";
            let settled: Option<DateTime<Utc>> = sqlx::query_scalar(settled)
                .fetch_optional(&compacting.pool)
                .await
                .unwrap();
            let settled = settled.map(Into::into);
            assert_eq!(
                answers(compacting, &user).await,
                answers(keeping, &user).await,
                "{visits:?}"
            );
            report_visits(compacting, &user, &visits, true, None).await;
            report_visits(keeping, &user, &visits, true, settled).await;
            let before = answers(keeping, &user).await;
            assert_eq!(answers(compacting, &user).await, before, "{visits:?}");
            compacting.compact().await;
            assert_eq!(answers(compacting, &user).await, before, "{visits:?}");
        },
    );
    assert!(compacted.get() > 50, "{compacted:?}");
}

async fn compact_logs(store: &Store) -> u64 {
    let ends = store.compact_session_ends(MIN_KEEP_PEERS, None);
    let resumes = store.compact_resumes(MIN_KEEP_PEERS, None);
    let reconciliations = store.delete_old_reconciliations();
    ends.await.unwrap().deleted + resumes.await.unwrap().deleted + reconciliations.await.unwrap()
}

/// An end of a session stays while a peer is left that it ended, and brings back none once it is gone.
#[tokio::test]
async fn an_end_of_a_session_stays_while_it_says_of_a_peer_that_it_ended() {
    let game = Game::new().await;
    let (user, room) = (new_user(), RoomId::parse("hall").unwrap());
    let end = async |peer: &str, days_ago: f64| {
        let session = Label::new(&format!("session-of-{peer}"));
        let ended = game
            .store
            .end_session(&room, Some(&session), game.ago(days_ago), None);
        ended.await.unwrap();
    };
    let of = |peer: &str| key(&user, "hall", peer);
    // Its state is all that is known of the user; and one that is not marked yet.
    game.join(&of("needed"), 50.0, Some("mine")).await;
    end("needed", 40.0).await;
    game.visit(&of("not-needed"), 40.0, None).await;
    end("not-needed", 40.0).await;
    end("of-nobody", 40.0).await;
    end("young", 30.5).await;
    assert_eq!(compact_logs(&game.store).await, 0, "none is checked");
    game.store.end_peers().await.unwrap();
    game.execute("UPDATE session_ends SET next_check_at = NULL")
        .await;
    game.join(&of("unmarked"), 50.0, None).await;
    end("unmarked", 40.0).await;
    game.execute("UPDATE session_ends SET next_check_at = NULL")
        .await;
    assert_eq!(compact_logs(&game.store).await, 2);
    let ends = async || {
        let ends = "SELECT session_id FROM session_ends ORDER BY session_id";
        let ends: Vec<String> = sqlx::query_scalar(ends)
            .fetch_all(&game.pool)
            .await
            .unwrap();
        ends
    };
    let left = [
        "session-of-needed",
        "session-of-unmarked",
        "session-of-young",
    ];
    assert_eq!(ends().await, left);
    let status = "SELECT peer_id || ' ' || status FROM peer_presence ORDER BY peer_id";
    let status: Vec<String> = sqlx::query_scalar(status)
        .fetch_all(&game.pool)
        .await
        .unwrap();
    assert_eq!(
        status,
        ["needed ended", "not-needed dropped", "unmarked ended"]
    );
    // A join that comes after the end of its session went would never end.
    game.join(&of("of-nobody"), 40.5, Some("late")).await;
    assert!(!game.peers().await.contains("of-nobody"));

    game.execute("DELETE FROM peers WHERE peer_id <> 'unmarked'")
        .await;
    assert_eq!(compact_logs(&game.store).await, 1);
    assert_eq!(ends().await, left[1..]);
}

#[tokio::test]
async fn a_claim_stays_while_somebody_else_could_claim_its_state() {
    let game = Game::new().await;
    let user = new_user();
    game.visit(&key(&user, "cave", "first"), 120.0, Some("mine"))
        .await;
    let add = async |id: &str, kind: &str, days: i32, of_state: bool| {
        sqlx::query(
            "INSERT INTO resumes (user_id, id, kind, at, change, snapshot_id, from_room_id, from_peer_id, automatic, claimed_by, outcome)
             SELECT user_id, md5($1)::uuid, $2, now() - make_interval(days => $3),
                    CASE WHEN $4 THEN change_id ELSE gen_random_uuid() END, snapshot_id, room_id, peer_id, false,
                    CASE $2 WHEN 'claim' THEN $1 END, 'claimed'
             FROM peers",
        )
        .bind(id)
        .bind(kind)
        .bind(days)
        .bind(of_state)
        .execute(&game.pool)
        .await
        .unwrap();
    };
    add("of-the-state", "claim", 110, true).await;
    add("of-a-state-that-is-gone", "claim", 100, false).await;
    add("young", "claim", 80, false).await;
    add("restored-long-ago", "restore", 95, true).await;
    add("restored", "restore", 80, true).await;
    game.execute(
        "INSERT INTO reconciliations (id, since, until, manual, finished_at)
         SELECT gen_random_uuid(), now(), now(), true, now() - make_interval(days => days)
         FROM unnest(ARRAY[300, 366, NULL]) AS days",
    )
    .await;
    assert_eq!(compact_logs(&game.store).await, 3);
    assert_eq!(game.count("reconciliations").await, 2);
    let left = "SELECT kind || coalesce(' ' || claimed_by, '') FROM resumes ORDER BY at";
    let left: Vec<String> = sqlx::query_scalar(left)
        .fetch_all(&game.pool)
        .await
        .unwrap();
    assert_eq!(left, ["claim of-the-state", "claim young", "restore"]);
    // What was claimed then cannot come back without its claim.
    game.visit(&key(&user, "cave", "late"), 100.5, Some("claimed"))
        .await;
    assert!(!game.peers().await.contains("late"));
    game.execute("DELETE FROM peers").await;
    assert_eq!(compact_logs(&game.store).await, 1);
}
