//! Plays the steps of a story.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use hms_sim::{
    DropOptions, Fault, FaultRule, Join, LeaveAt, Operation, RateLimit, Update, WireMetadata,
};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::journal::{AckedClaim, AckedRow, Span};
use crate::plan::{Action, HmsFault, room_id, user_id};
use crate::world::{World, try_execute};

/// The documented way to erase a user.
const OPERATIONS: &str = include_str!("../../docs/operations.md");

/// Plays all steps at their times, and returns when all requests are answered.
pub(crate) async fn play(world: &Arc<World>) {
    let start = Instant::now();
    let mut under_way = JoinSet::new();
    for step in &world.story.steps {
        sleep_until(start + Duration::from_millis(step.at_ms)).await;
        // What happens at 100ms happens in this order; requests run beside it.
        if !at_hms(world, &step.action) {
            let (world, action) = (Arc::clone(world), step.action.clone());
            under_way.spawn(async move { act(&world, action).await });
        }
    }
    while under_way.join_next().await.is_some() {}
}

/// What happens at 100ms itself. Where it cannot be, it does not happen.
fn at_hms(world: &World, action: &Action) -> bool {
    let sim = &world.sim;
    match action {
        Action::Join(peer, metadata) => {
            let join = Join {
                peer_id: Some(peer.peer_id()),
                session_id: None,
                ..Join::of(&peer.user_id()).with_metadata(WireMetadata::text(metadata))
            };
            let _ = sim.join(&peer.room_id(), join);
        }
        Action::Set(peer, metadata) => {
            let is_ghost = sim
                .peer(&peer.room_id(), &peer.peer_id())
                .is_ok_and(|peer| peer.ghost.is_some());
            if !is_ghost {
                let _ = sim.set_metadata(
                    &peer.room_id(),
                    &peer.peer_id(),
                    WireMetadata::text(metadata),
                );
            }
        }
        Action::Role(peer, role) => {
            let update = Update {
                role: Some((*role).to_owned()),
                ..Update::default()
            };
            let _ = sim.update(&peer.room_id(), &peer.peer_id(), update);
        }
        Action::Drop(peer, reason, at_once) => {
            let options = DropOptions {
                reason: Some((*reason).to_owned()),
                leave_at: Some(if *at_once {
                    LeaveAt::Drop
                } else {
                    LeaveAt::GhostEnd
                }),
                ..DropOptions::default()
            };
            let _ = sim.drop_peer(&peer.room_id(), &peer.peer_id(), options);
        }
        Action::Reconnect(peer) => drop(sim.reconnect(&peer.room_id(), &peer.peer_id())),
        Action::Leave(peer) => drop(sim.leave(&peer.room_id(), &peer.peer_id())),
        Action::Kick(peer) => drop(sim.kick(&peer.room_id(), &peer.peer_id(), "out")),
        Action::EndRoom(room) => drop(sim.end_room(&room_id(*room), None)),
        Action::Hms(fault) => sim.set_faults(rules(*fault)),
        _ => return false,
    }
    true
}

fn rules(fault: HmsFault) -> Vec<FaultRule> {
    let always = |fault| vec![FaultRule::always(Operation::Any, fault)];
    match fault {
        HmsFault::RateLimited => always(Fault::RateLimit(RateLimit::Header(1))),
        HmsFault::Failing => always(Fault::Status(500)),
        HmsFault::Hanging => always(Fault::Hang),
        HmsFault::Cutting => always(Fault::CutBody),
        HmsFault::Slow => always(Fault::DelayMs(120)),
        HmsFault::Garbage => always(Fault::Garbage),
        HmsFault::LosingAnswers => vec![FaultRule::always(Operation::Update, Fault::CutBody)],
        HmsFault::Well => Vec::new(),
    }
}

async fn act(world: &World, action: Action) {
    let client = &world.client;
    match action {
        Action::SnapshotPeer(peer, replica) => {
            let path = format!(
                "/v1/rooms/{}/peers/{}/snapshots",
                peer.room_id(),
                peer.peer_id()
            );
            let sent = Utc::now();
            let Some(answer) = client.post(replica, &path, None).await else {
                return;
            };
            if answer.is_success() {
                world.note(sent, vec![answer.body]);
            }
        }
        Action::SnapshotRoom(room, replica) => drop(world.snapshot(room, replica).await),
        Action::Resume(user, replica) => {
            client
                .get(replica, &format!("/v1/users/{}/resume", user_id(user)))
                .await;
            client
                .get(replica, &format!("/v1/users/{}/snapshots", user_id(user)))
                .await;
        }
        Action::Claim(user, claimant, replica) => {
            claim(world, user, replica, &json!({"claimed_by": claimant})).await;
        }
        Action::Restore(peer, overwrite, claimant, replica) => {
            let mut body = json!({"room_id": peer.room_id(), "peer_id": peer.peer_id(), "overwrite": overwrite});
            if let Some(claimant) = claimant {
                body["claimed_by"] = claimant.into();
            }
            claim(world, peer.user, replica, &body).await;
        }
        Action::Scrape(replica) => drop(client.get(replica, "/metrics").await),
        Action::Kill(replica) => client.replicas[replica].kill(),
        Action::Start(replica) => {
            client.replicas[replica].start(Duration::from_secs(2)).await;
        }
        Action::Erase(user) => erase(world, user).await,
        Action::Lock(user, ms) => lock(world, user, ms).await,
        other => at_database(world, other).await,
    }
}

async fn claim(world: &World, user: usize, replica: usize, body: &Value) {
    let sent = Utc::now();
    let path = format!("/v1/users/{}/resume", user_id(user));
    let Some(answer) = world.client.post(replica, &path, Some(body)).await else {
        return;
    };
    let claimant = answer.body["claim"]["claimed_by"].as_str();
    if let Some(claimant) = claimant.filter(|_| answer.is_success()) {
        let metadata = answer.body["metadata_raw"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let span = Span {
            sent,
            done: Utc::now(),
        };
        let claim = AckedClaim {
            span,
            user,
            claimant: claimant.to_owned(),
            metadata,
        };
        world.journal.claims.lock().unwrap().push(claim);
    }
}

async fn at_database(world: &World, action: Action) {
    let pause = |ms| sleep(Duration::from_millis(ms));
    match action {
        Action::DatabaseCut(ms) => {
            world.proxy.lock().await.cut().await;
            pause(ms).await;
        }
        Action::DatabaseStall(ms) => {
            world.proxy.lock().await.stall();
            pause(ms).await;
        }
        Action::DatabaseSlow(by, ms) => {
            world.proxy.lock().await.delay(Duration::from_millis(by));
            pause(ms).await;
        }
        Action::DatabaseStrand => world.proxy.lock().await.strand().await,
        Action::DatabaseRestart(ms) => {
            let _ = try_execute(
                &world.url,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            .await;
            world.proxy.lock().await.cut().await;
            pause(ms).await;
        }
        Action::DatabaseCrash => {
            crash(world).await;
            return;
        }
        _ => return,
    }
    world.proxy.lock().await.heal();
}

/// Kills a backend of the server, which then restarts all of itself.
async fn crash(world: &World) {
    let Ok(mut connection) = PgConnection::connect(&world.url).await else {
        return;
    };
    let own = sqlx::query_scalar::<_, i32>("SELECT pg_backend_pid()")
        .fetch_one(&mut connection)
        .await;
    if let Some(pid) = own.ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

async fn lock(world: &World, user: usize, ms: u64) {
    let Ok(mut connection) = PgConnection::connect(&world.url).await else {
        return;
    };
    let locked = format!(
        "BEGIN; SELECT 1 FROM peers WHERE user_id = '{}' FOR UPDATE",
        user_id(user)
    );
    if sqlx::raw_sql(AssertSqlSafe(locked))
        .execute(&mut connection)
        .await
        .is_ok()
    {
        sleep(Duration::from_millis(ms)).await;
        let _ = sqlx::raw_sql("COMMIT").execute(&mut connection).await;
    }
}

async fn erase(world: &World, user: usize) {
    let section = OPERATIONS
        .split_once("## Erasing a user")
        .expect("the section")
        .1;
    let sql = section.split_once("```sql").expect("its SQL").1;
    let sql = sql.split_once("```").expect("its end").0;
    let sql = sql.replace("player-7", &user_id(user));
    let sent = Utc::now();
    if try_execute(&world.url, &sql).await.is_ok() {
        let span = Span {
            sent,
            done: Utc::now(),
        };
        world.journal.erased.lock().unwrap().push((user, span));
    }
}

impl World {
    /// Restores to every peer that is there: once the faults are over, what is said to be there is there.
    pub(crate) async fn restore_again(&self) {
        for peer in self.story.peers() {
            let is_there = || self.sim.peer(&peer.room_id(), &peer.peer_id());
            let Ok(before) = is_there() else { continue };
            let body = json!({"room_id": peer.room_id(), "peer_id": peer.peer_id()});
            let path = format!("/v1/users/{}/resume", peer.user_id());
            let Some(answer) = self.client.post(peer.number, &path, Some(&body)).await else {
                continue;
            };
            let Ok(after) = is_there() else { continue };
            let said = answer.body["metadata_raw"].as_str().map(WireMetadata::text);
            let has_it = said.is_some_and(|metadata| metadata == after.metadata);
            let (restored, why) = (&answer.body["restored"], &answer.body["why"]);
            let empty = before.metadata == WireMetadata::text("");
            let wrong = match (restored.as_bool(), why.as_str()) {
                (Some(true), _) | (_, Some("same-peer")) => !has_it,
                (_, Some("already-has-metadata")) => empty,
                _ => answer.status >= 500,
            };
            if wrong {
                let line = format!(
                    "{peer} has {:?}, but {body} was answered {answer:?}",
                    after.metadata
                );
                self.journal.unrestored.lock().unwrap().push(line);
            }
        }
    }

    /// Takes a snapshot of a room, and returns the status.
    pub(crate) async fn snapshot(&self, room: usize, replica: usize) -> Option<u16> {
        let sent = Utc::now();
        let path = format!("/v1/rooms/{}/snapshots", room_id(room));
        let answer = self.client.post(replica, &path, None).await?;
        if answer.is_success() {
            let rows = answer.body["snapshots"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            self.note(sent, rows);
        }
        Some(answer.status)
    }

    fn note(&self, sent: chrono::DateTime<Utc>, rows: Vec<Value>) {
        let span = Span {
            sent,
            done: Utc::now(),
        };
        let rows = rows.into_iter().map(|row| AckedRow { span, row });
        self.journal.rows.lock().unwrap().extend(rows);
    }
}
