//! Both forms of the statements, for many users and for one, leave the same rows and give the same answers: generated steps,
//! on two databases.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use proptest::prelude::*;
use rejoin::domain::{
    Claimant, End, EndKind, EventKind, EventPolicy, EventReport, Label, Metadata, Observation,
    PeerId, PeerKey, Presence, Report, Requester, RestoreMark, RestoreOutcome, ResumeRecord,
    RoomId, SavedState, SessionId, Source, Timestamp, Tracks, UserId, WatchInterval, WatchRequest,
};
use rejoin::store::{
    HistoryPage, HistoryQuery, Layout, ResumeQuery, Span, Store, StoreConfig, Unseen, UnseenPeer,
    UnseenRooms, UnseenSession,
};
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::generated::for_generated;
use crate::support::postgres::{self, Database};
use crate::support::store::compact;

const USERS: usize = 2;
const PEERS: usize = 3;
const ROOMS: [&str; 2] = ["cave", "tower"];
const SECONDS: i64 = 10;
const METADATA: [Option<&str>; 4] = [None, Some(""), Some("a"), Some("b")];

/// The columns that differ from run to run: times of Postgres's clock, and random numbers.
const TABLES: [(&str, &str); 9] = [
    ("peers", "ARRAY['version', 'presence_checked_at']"),
    ("snapshots", "ARRAY['recorded_at']"),
    ("resumes", "'{}'::text[]"),
    ("session_ends", "ARRAY['next_check_at']"),
    ("announced_states", "'{}'::text[]"),
    ("restore_jobs", "'{}'::text[]"),
    ("fetch_jobs", "ARRAY['queued_at', 'due_at']"),
    ("watches", "ARRAY['next_look_at', 'due_at', 'looks']"),
    (
        "forwards",
        "ARRAY['id', 'position', 'received_at', 'due_at']",
    ),
];

/// A peer of a user.
#[derive(Debug, Clone, Copy)]
struct Peer {
    user: usize,
    peer: usize,
}

/// What is done to the store.
#[derive(Debug, Clone)]
enum Step {
    Observe(Vec<(Peer, i64, Option<&'static str>)>),
    Join(Peer, i64, Option<&'static str>),
    Leave(Peer, i64, Option<&'static str>),
    ChangeRole(Peer, i64),
    Restore(Peer, i64),
    Claim(usize),
    Settle(Peer, i64),
    EndSession(usize, i64),
    EndPeers,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let peer = (0..USERS, 0..PEERS).prop_map(|(user, peer)| Peer { user, peer });
    let metadata = prop::sample::select(METADATA.to_vec());
    let said = (peer.clone(), 0..SECONDS, metadata);
    let step = prop_oneof![
        3 => prop::collection::vec(said.clone(), 1..6).prop_map(Step::Observe),
        3 => said.clone().prop_map(|(peer, at, metadata)| Step::Join(peer, at, metadata)),
        3 => said.prop_map(|(peer, at, metadata)| Step::Leave(peer, at, metadata)),
        1 => (peer.clone(), 0..SECONDS).prop_map(|(peer, at)| Step::ChangeRole(peer, at)),
        1 => (peer.clone(), 0..SECONDS).prop_map(|(peer, at)| Step::Restore(peer, at)),
        1 => (0..USERS).prop_map(Step::Claim),
        1 => (peer, 0..SECONDS).prop_map(|(peer, at)| Step::Settle(peer, at)),
        1 => (0..ROOMS.len(), 0..SECONDS).prop_map(|(room, at)| Step::EndSession(room, at)),
        1 => Just(Step::EndPeers),
    ];
    prop::collection::vec(step, 1..16)
}

/// A store with one form of the statements.
struct Form {
    pool: PgPool,
    store: Store,
    _database: Database,
}

impl Form {
    async fn of(layout: Layout) -> Self {
        let database = postgres::database().await;
        let config = StoreConfig {
            presence: true,
            layout: Some(layout),
            own_events: Some(EventPolicy {
                with_metadata: true,
            }),
            ..StoreConfig::default()
        };
        let store = Store::new(database.url().parse().unwrap(), &config);
        Self {
            pool: database.pool().await,
            store,
            _database: database,
        }
    }

    async fn clear(&self) {
        let tables: Vec<&str> = TABLES.iter().map(|(table, _)| *table).collect();
        let truncate = format!("TRUNCATE {}, compactions", tables.join(", "));
        sqlx::query(sqlx::AssertSqlSafe(truncate))
            .execute(&self.pool)
            .await
            .unwrap();
    }

    /// All rows of all tables, as JSON. Without `forwards` where several observations of a user arrive at once: which of their
    /// states are announced depends on how many are saved together.
    async fn rows(&self, forwards: bool) -> Vec<(&'static str, serde_json::Value)> {
        let mut rows = Vec::new();
        let tables = TABLES.into_iter();
        for (table, except) in tables.filter(|(table, _)| forwards || *table != "forwards") {
            let sql = format!(
                "SELECT coalesce(jsonb_agg(t.row ORDER BY t.row::text), '[]')
                 FROM (SELECT to_jsonb({table}) - {except} AS row FROM {table}) AS t"
            );
            let of_table = sqlx::query_scalar(sqlx::AssertSqlSafe(sql));
            rows.push((table, of_table.fetch_one(&self.pool).await.unwrap()));
        }
        rows
    }
}

type Answers = (
    Vec<Option<SavedState>>,
    Vec<HistoryPage>,
    Vec<UnseenSession>,
    Vec<UnseenPeer>,
);

/// A case: its users, and its time, which is so long ago that its peers may be compacted.
struct Case {
    users: Vec<UserId>,
    start: chrono::DateTime<Utc>,
}

impl Case {
    fn new() -> Self {
        let name = Uuid::new_v4().simple();
        let user = |user| UserId::parse(&format!("user-{user}-{name}")).unwrap();
        let start = Utc::now() - TimeDelta::days(40);
        let micros = start.timestamp() * 1_000_000;
        Self {
            users: (0..USERS).map(user).collect(),
            start: chrono::DateTime::from_timestamp_micros(micros).unwrap(),
        }
    }

    fn at(&self, second: i64) -> Timestamp {
        (self.start + TimeDelta::seconds(second)).into()
    }

    fn key(&self, peer: Peer) -> PeerKey {
        let room = RoomId::parse(ROOMS[peer.peer % ROOMS.len()]).unwrap();
        let peer_id = PeerId::parse(&format!("peer-{}", peer.peer)).unwrap();
        PeerKey::new(self.users[peer.user].clone(), room, peer_id).unwrap()
    }

    fn observation(&self, peer: Peer, second: i64, metadata: Option<&str>) -> Observation {
        let metadata = metadata.map_or(Metadata::NONE, Metadata::from_text);
        let source = if second % 2 == 0 {
            Source::Peer
        } else {
            Source::Room
        };
        let observation = Observation::new(self.key(peer), self.at(second), source, metadata);
        Observation {
            tracks: Tracks::from_wire(r#"{"t":{"mute":true}}"#).filter(|_| second % 2 == 0),
            role: Some(Label::new("player")),
            joined_at: Some(self.at(0)),
            ..observation
        }
    }

    fn event(&self, peer: Peer, kind: EventKind, second: i64) -> EventReport {
        EventReport {
            role: Some(Label::new("judge")),
            ..EventReport::new(self.key(peer), kind, self.at(second))
        }
    }

    fn presence(&self, second: i64, has_ended: bool) -> Presence {
        let at = self.at(second);
        Presence {
            connected_since: Some(at).filter(|_| !has_ended),
            session_id: Some(Label::new("session")).filter(|_| !has_ended),
            ended: has_ended.then_some(End {
                at,
                kind: EndKind::Dropped,
                reason: Some(Label::new("websocket closed")),
            }),
        }
    }

    fn join(&self, peer: Peer, second: i64, metadata: Option<&str>) -> Report {
        let event = self.event(peer, EventKind::Join, second);
        Report::Event(EventReport {
            metadata: metadata.map(Metadata::from_text),
            joined_at: Some(self.at(second)),
            presence: self.presence(second, false),
            restore_requested_at: Some(self.at(second)),
            watch: Some(self.watch(EventKind::Join, second)),
            ..event
        })
    }

    fn leave(&self, peer: Peer, second: i64, metadata: Option<&str>) -> Report {
        Report::Event(EventReport {
            metadata: metadata.map(Metadata::from_text),
            presence: self.presence(second, true),
            ..self.event(peer, EventKind::Leave, second)
        })
    }

    fn watch(&self, kind: EventKind, second: i64) -> WatchRequest {
        WatchRequest {
            kind,
            at: self.at(second),
            starts: Some(WatchInterval::DEFAULT),
        }
    }

    async fn saved_state(&self, store: &Store, user: usize) -> Option<SavedState> {
        let query = ResumeQuery::of_user(&self.users[user]);
        store.resume(query).await.unwrap()
    }

    fn record(&self, state: SavedState, to: Option<PeerKey>, number: usize) -> ResumeRecord {
        ResumeRecord {
            id: Uuid::from_u128(number as u128),
            at: self.at(SECONDS),
            user_id: state.key.user_id.clone(),
            state: Some(state),
            to,
            requester: Requester::Join,
        }
    }

    async fn restore(&self, store: &Store, to: Peer, second: i64, number: usize) {
        let Some(state) = self.saved_state(store, to.user).await else {
            return;
        };
        let mark = RestoreMark {
            at: self.at(second),
            change: state.change,
            changed_at: state.changed_at,
            answered_at: None,
        };
        let metadata = state.metadata.clone();
        let record = self.record(state, Some(self.key(to)), number);
        let key = self.key(to);
        store.report(Report::Restoring { key, mark }).await.unwrap();
        for outcome in [RestoreOutcome::Sending, RestoreOutcome::Restored] {
            store.record_restore(record.clone(), outcome).await.unwrap();
        }
        let observation = Observation {
            metadata,
            ..self.observation(to, second, None)
        };
        let answered_at = self.at(second + 1);
        let restored = Report::Restored {
            observation,
            answered_at,
        };
        store.report(restored).await.unwrap();
    }

    async fn run(&self, store: &Store, step: &Step, number: usize) {
        match step {
            Step::Observe(observations) => {
                let observations = observations.iter().map(|&(peer, second, metadata)| {
                    Report::Observed(self.observation(peer, second, metadata))
                });
                for saved in store.save_all(observations.collect()).await {
                    saved.unwrap();
                }
            }
            Step::Join(peer, second, metadata) => {
                store
                    .report(self.join(*peer, *second, *metadata))
                    .await
                    .unwrap();
            }
            Step::Leave(peer, second, metadata) => {
                store
                    .report(self.leave(*peer, *second, *metadata))
                    .await
                    .unwrap();
            }
            Step::ChangeRole(peer, second) => {
                let event = EventReport {
                    watch: Some(self.watch(EventKind::RoleChange, *second)),
                    ..self.event(*peer, EventKind::RoleChange, *second)
                };
                store.report(Report::Event(event)).await.unwrap();
            }
            Step::Restore(to, second) => self.restore(store, *to, *second, number).await,
            Step::Claim(user) => {
                let state = self.saved_state(store, *user).await;
                if let Some(state) = state {
                    let record = self.record(state, None, number);
                    let claimant = Claimant::parse("server-1").unwrap();
                    assert!(store.claim(record, claimant).await.unwrap().is_some());
                }
            }
            Step::Settle(peer, second) => {
                let PeerKey {
                    user_id,
                    room_id,
                    peer_id,
                } = self.key(*peer);
                let peer = UnseenPeer { user_id, peer_id };
                let settled =
                    store.settle_unseen_peers(room_id, vec![(peer, Some(self.at(*second)))]);
                settled.await.unwrap();
            }
            Step::EndSession(room, second) => {
                let room = RoomId::parse(ROOMS[*room]).unwrap();
                let session = Label::new("session");
                let at = self.at(*second);
                let ended = store.end_session(&room, Some(&session), at, None);
                ended.await.unwrap();
            }
            Step::EndPeers => {
                store.end_peers().await.unwrap();
            }
        }
    }

    /// All that can be asked about the users.
    async fn answers(&self, store: &Store) -> Answers {
        let rooms = || [None].into_iter().chain(ROOMS.map(Some));
        let room_id = |room: Option<&str>| room.map(|room| RoomId::parse(room).unwrap());
        let (mut states, mut pages) = (Vec::new(), Vec::new());
        for user_id in &self.users {
            for room in rooms() {
                for excluded in [None, Some("peer-0"), Some("peer-1")] {
                    let query = ResumeQuery {
                        user_id: user_id.clone(),
                        room_id: room_id(room),
                        exclude_peer_id: excluded.map(|peer| PeerId::parse(peer).unwrap()),
                    };
                    states.push(store.resume(query).await.unwrap());
                }
                let all = Span::Between {
                    since: None,
                    until: None,
                };
                for span in [all, Span::At(self.at(SECONDS / 2))] {
                    let query = HistoryQuery {
                        user_id: user_id.clone(),
                        room_id: room_id(room),
                        peer_id: None,
                        span,
                        limit: 500,
                        after: None,
                    };
                    pages.push(store.history(&query).await.unwrap());
                }
            }
        }
        let session = UnseenSession {
            room_id: RoomId::parse(ROOMS[0]).unwrap(),
            session_id: SessionId::parse("session").unwrap(),
        };
        let unseen = Unseen {
            unseen_for: Duration::from_mins(1),
            rooms: UnseenRooms::Watched,
        };
        let sessions = store.unseen_sessions(unseen, None).await.unwrap();
        let peers = store.unseen_peers(Duration::from_mins(1), session, None);
        let peers = peers.await.unwrap();
        (states, pages, sessions, peers)
    }
}

/// Whether several observations of one user arrive at once.
fn is_folded(step: &Step) -> bool {
    let Step::Observe(observations) = step else {
        return false;
    };
    (0..USERS).any(|user| {
        let of_user = observations.iter().filter(|(peer, ..)| peer.user == user);
        of_user.count() > 1
    })
}

#[test]
fn both_forms_do_the_same() {
    let forms = async {
        [
            Form::of(Layout::OneServer).await,
            Form::of(Layout::Distributed).await,
        ]
    };
    for_generated(
        40,
        &steps(),
        forms,
        &async |forms: &[Form; 2], steps: Vec<Step>| {
            let case = Case::new();
            let [many, one] = forms;
            many.clear().await;
            one.clear().await;
            let forwards = !steps.iter().any(is_folded);
            for (number, step) in steps.iter().enumerate() {
                case.run(&many.store, step, number).await;
                case.run(&one.store, step, number).await;
            }
            assert_eq!(many.rows(forwards).await, one.rows(forwards).await);
            assert_eq!(
                case.answers(&many.store).await,
                case.answers(&one.store).await
            );
            assert_eq!(compact(&many.store).await, compact(&one.store).await);
            assert_eq!(many.rows(forwards).await, one.rows(forwards).await);
            assert_eq!(
                case.answers(&many.store).await,
                case.answers(&one.store).await
            );
        },
    );
}
