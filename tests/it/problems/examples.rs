//! The examples of the description are what the service answers to the story here.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use hms_sim::{Fault, FaultRule, Operation, RateLimit, WireMetadata};
use rejoin::config::{EventArgs, ForwardArgs};
use rejoin::keys::new_key;
use rejoin::store::StoreConfig;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::scripted::{Answer as ScriptedAnswer, Scripted};
use crate::support::wait::until;
use crate::support::webhooks::{join_event, leave_event, send_event};
use crate::support::world::{Answer, ROOM, Replica, Setup, World};

const FILE: &str = "src/http/openapi/examples.json";
const STATE: &str = r#"{"checkpoint":"cave-3","hp":71}"#;

/// Sends a request that names itself as in the examples.
async fn send(app: &Replica, method: Method, path: &str, body: Option<&Value>) -> Answer {
    let request = app.request(method, path).header("x-request-id", "7f3a9c51");
    let request = match body {
        Some(body) => request.json(body),
        None => request,
    };
    Answer::to(request).await
}

async fn get(app: &Replica, path: &str) -> Answer {
    send(app, Method::GET, path, None).await
}

async fn post(app: &Replica, path: &str) -> Answer {
    send(app, Method::POST, path, None).await
}

fn snapshots_of(peer: &str) -> String {
    format!("/v1/rooms/{ROOM}/peers/{peer}/snapshots")
}

/// Postgres's clock dates watches, and is not the test's.
fn fix_times(body: &mut Value) {
    match body {
        Value::Object(fields) => {
            for (name, value) in fields {
                match name.as_str() {
                    "started_at" if value.is_string() => {
                        *value = json!("2026-12-01T12:00:50.000000Z");
                    }
                    "next_attempt_at" if value.is_string() => {
                        *value = json!("2026-12-01T12:01:00.000000Z");
                    }
                    "id" if is_random(value) => {
                        *value = json!("01a20b36-b057-7649-952c-0544c1f13d5c");
                    }
                    "next_look_at" => *value = json!("2026-12-01T12:01:00.000000Z"),
                    _ => fix_times(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(fix_times),
        _ => {}
    }
}

/// Whether an id of this name is made by the machine's clock: those of snapshots are digests, of the
/// test's.
fn is_random(id: &Value) -> bool {
    const START_OF_DECEMBER: u64 = 1_796_000_000;
    let id = id.as_str().and_then(|id| uuid::Uuid::try_parse(id).ok());
    let made_at = id.and_then(|id| id.get_timestamp());
    made_at.is_some_and(|at| at.to_unix().0 < START_OF_DECEMBER)
}

/// The examples as they are taken.
#[derive(Default)]
struct Examples {
    requests: BTreeMap<&'static str, Value>,
    answers: BTreeMap<&'static str, BTreeMap<u16, Value>>,
    problems: BTreeMap<String, Value>,
    /// Our own events.
    events: BTreeMap<String, Value>,
}

impl Examples {
    fn answer(&mut self, operation: &'static str, answer: &Answer) {
        let mut body = serde_json::from_str(&answer.text).unwrap_or_else(|_| json!(answer.text));
        fix_times(&mut body);
        let of_operation = self.answers.entry(operation).or_default();
        of_operation.insert(answer.status.as_u16(), body);
    }

    fn problem(&mut self, code: &str, answer: &Answer) {
        assert_eq!(answer.code(), code, "{}", answer.text);
        self.problems.insert(code.to_owned(), answer.json());
    }
}

async fn story(examples: &mut Examples) {
    let world = World::new().await;
    let app = world.replica(Setup::with_webhooks()).await;
    let resume = "/v1/users/player-7/resume";

    let joined = join_event("peer-1", 0, STATE);
    world.join("player-7", "peer-1", STATE);
    examples.answer("receiveWebhook", &send_event(&app, &joined).await);
    world.clock.advance(Duration::from_secs(20));
    world.set("peer-1", r#"{"checkpoint":"cave-4","hp":64}"#);
    examples.answer("snapshotPeer", &post(&app, &snapshots_of("peer-1")).await);
    world.clock.advance(Duration::from_secs(5));
    examples.answer("snapshotPeer", &post(&app, &snapshots_of("peer-1")).await);
    let room = post(&app, &format!("/v1/rooms/{ROOM}/snapshots")).await;
    examples.answer("snapshotRoom", &room);
    let too_old = get(&app, &format!("{resume}?max_age=0")).await;
    assert_eq!(too_old.status, 200, "it was observed right now");
    world.clock.advance(Duration::from_secs(10));
    let too_old = get(&app, &format!("{resume}?max_age=5")).await;
    examples.problem("saved-metadata-too-old", &too_old);
    let not_dropped = get(&app, &format!("{resume}?only=dropped")).await;
    examples.problem("not-dropped", &not_dropped);

    let left = leave_event(
        "peer-1",
        0,
        40,
        "websocket closed",
        r#"{"checkpoint":"cave-4","hp":64}"#,
    );
    examples.requests.insert("receiveWebhook", left.clone());
    send_event(&app, &left).await.expect(200);
    world.sim.leave(ROOM, "peer-1").unwrap();
    world.clock.advance(Duration::from_secs(10));
    world.join("player-7", "peer-2", "");
    world.join("player-8", "peer-3", "");
    examples.answer("getResume", &get(&app, resume).await);
    let restore = json!({"room_id": ROOM, "peer_id": "peer-2", "claimed_by": "game-server-3"});
    examples.requests.insert("restore", restore.clone());
    let restored = send(&app, Method::POST, resume, Some(&restore)).await;
    examples.answer("restore", &restored);
    let claimed = json!({"claimed_by": "game-server-4"});
    let claimed = send(&app, Method::POST, resume, Some(&claimed)).await;
    examples.problem("already-claimed", &claimed);
    let other = json!({"room_id": ROOM, "peer_id": "peer-3"});
    let other = send(&app, Method::POST, resume, Some(&other)).await;
    examples.problem("peer-not-of-user", &other);
    let history = get(&app, "/v1/users/player-7/snapshots?limit=2").await;
    examples.answer("listHistory", &history);
    let watch = format!("/v1/rooms/{ROOM}/watch");
    let every = json!({"every": "10s"});
    examples.requests.insert("watchRoom", every.clone());
    for _ in 0..2 {
        let watched = send(&app, Method::PUT, &watch, Some(&every)).await;
        examples.answer("watchRoom", &watched);
    }
    examples.answer("getWatch", &get(&app, &watch).await);
    examples.answer("listWatches", &get(&app, "/v1/watches").await);
    send(&app, Method::DELETE, &watch, None).await.expect(204);
    examples.problem("room-not-watched", &get(&app, &watch).await);
    forwards(examples, &world, &app).await;
    let time = json!({"since": "2026-12-01T11:00:00Z", "until": "2026-12-01T11:30:00Z"});
    examples.requests.insert("reconcile", time.clone());
    let reconciliations = "/v1/reconciliations";
    let added = send(&app, Method::POST, reconciliations, Some(&time)).await;
    examples.answer("reconcile", &added);
    let added = format!("{reconciliations}/{}", added.json()["id"].as_str().unwrap());
    examples.answer("getReconciliation", &get(&app, &added).await);
    examples.answer("listReconciliations", &get(&app, reconciliations).await);
    examples.answer("getLiveness", &get(&app, "/health/live").await);
    examples.answer("getReadiness", &get(&app, "/health/ready").await);

    examples.problem("not-found", &get(&app, "/v1/nowhere").await);
    let put = send(&app, Method::PUT, resume, None).await;
    examples.problem("method-not-allowed", &put);
    let nobody = get(&app, "/v1/users/nobody/resume").await;
    examples.problem("no-saved-metadata", &nobody);
    let unknown = get(&app, &format!("{resume}?room=arena")).await;
    examples.problem("invalid-request", &unknown);
    let large = app.request(Method::POST, &snapshots_of("peer-1"));
    let large = large
        .header("x-request-id", "7f3a9c51")
        .body("x".repeat(70_000));
    examples.problem("payload-too-large", &Answer::to(large).await);
    let elsewhere = post(&app, "/v1/rooms/elsewhere/peers/peer-1/snapshots").await;
    examples.problem("room-not-active", &elsewhere);
    let gone = post(&app, &snapshots_of("peer-1")).await;
    examples.problem("peer-not-found", &gone);
}

/// Our own events, with the metadata.
async fn own_events(examples: &mut Examples) {
    let world = World::new().await;
    let endpoint = Scripted::answers([ScriptedAnswer::ok("")]).await;
    let setup = Setup {
        forwards: ForwardArgs::to(&format!("http://127.0.0.1:{}/", endpoint.port)),
        events: EventArgs::on(true),
        ..Setup::with_webhooks()
    };
    let app = world.replica(setup).await;
    let joined = join_event("peer-1", 0, STATE);
    send_event(&app, &joined).await.expect(200);
    let left = leave_event("peer-1", 0, 40, "websocket closed", STATE);
    send_event(&app, &left).await.expect(200);
    world.clock.advance(Duration::from_secs(45));
    world.join("player-7", "peer-2", "");
    let restore = json!({"room_id": ROOM, "peer_id": "peer-2", "claimed_by": "game-server-3"});
    let resume = "/v1/users/player-7/resume";
    app.post_json(resume, &restore).await.expect(200);
    let passed_on = 2;
    let types = ["dropped", "saved", "restored", "claimed"].len();
    until("all events are sent", async || {
        endpoint.received().len() == passed_on + types
    })
    .await;
    for received in endpoint.received() {
        let event: Value = serde_json::from_str(&received.body).unwrap();
        let event_type = event["type"].as_str().unwrap();
        if event_type.starts_with("rejoin.") {
            examples.events.insert(event_type.to_owned(), event);
        }
    }
}

/// A dead event and one that waits. No replica sends them.
async fn forwards(examples: &mut Examples, world: &World, app: &Replica) {
    let sql = "INSERT INTO forwards (id, room_id, user_id, received_at, headers, body, state, attempts, due_at,
                   failing_since, last_error, dead_at)
               VALUES ('0190a5b2-6f1e-4c2a-9d37-52c8f0e4a911', $1, 'player-7', '2026-11-30T11:00:00Z', '[]', '', 'dead', 36,
                   '2026-12-01T11:00:04Z', '2026-11-30T11:00:01Z', 'the endpoint answered status 500',
                   '2026-12-01T11:00:04Z'),
               ('2f6f0c1e-0d0f-4b53-8b0b-6a1b3f6b7a55', $1, NULL, '2026-12-01T12:00:00Z', '[]', '', 'waiting', 3,
                   '2026-12-01T12:00:08Z', '2026-12-01T12:00:01Z', 'the endpoint did not answer within 15 s', NULL)";
    let pool = world.database.pool().await;
    sqlx::query(sql).bind(ROOM).execute(&pool).await.unwrap();
    examples.answer("listForwards", &get(app, "/v1/forwards").await);
    let retry = "/v1/forwards/0190a5b2-6f1e-4c2a-9d37-52c8f0e4a911/retry";
    examples.answer("retryForward", &post(app, retry).await);
    examples.answer("retryForwards", &post(app, "/v1/forwards/retry").await);
}

async fn keys(examples: &mut Examples) {
    let world = World::new().await;
    let key = new_key("history", "history").unwrap();
    let app = world
        .replica(Setup {
            keys: key.entry.clone(),
            ..Setup::default()
        })
        .await;
    let resume = "/v1/users/player-7/resume";
    examples.problem("unauthorized", &get(&app, resume).await);
    let forbidden = get(&app.with_key(&key.key), resume).await;
    examples.problem("forbidden", &forbidden);
}

async fn unstorable(examples: &mut Examples) {
    let world = World::new().await;
    let app = world.replica(Setup::with_max_metadata_bytes(20)).await;
    world.join("", "no-user", "x");
    world.join("player-7", "large", STATE);
    let lone = WireMetadata::json(r#""a\udc00b""#).unwrap();
    world.join_with("player-8", "lone", lone);
    for (peer, code) in [
        ("no-user", "peer-without-user-id"),
        ("large", "metadata-too-large"),
        ("lone", "metadata-not-representable"),
    ] {
        examples.problem(code, &post(&app, &snapshots_of(peer)).await);
    }
}

async fn outages(examples: &mut Examples) {
    let world = World::new().await;
    world.join("player-7", "peer-1", STATE);
    for (fault, code) in [
        (Fault::Unauthorized, "upstream-unauthorized"),
        (Fault::Garbage, "upstream-bad-response"),
        (Fault::Status(503), "upstream-unavailable"),
        (Fault::Hang, "upstream-timeout"),
        (
            Fault::RateLimit(RateLimit::Header(45)),
            "upstream-rate-limited",
        ),
    ] {
        let timeout = match fault {
            Fault::Hang => Duration::from_millis(300),
            _ => Setup::default().timeout,
        };
        let app = world
            .replica(Setup {
                timeout,
                ..Setup::default()
            })
            .await;
        let always = FaultRule::always(Operation::Any, fault);
        world.sim.set_faults([always]);
        examples.problem(code, &post(&app, &snapshots_of("peer-1")).await);
    }
    world.sim.set_faults([]);
    let app = world.replica(Setup::without_database()).await;
    let away = get(&app, "/v1/users/player-7/resume").await;
    examples.problem("database-unavailable", &away);
    examples.problem("overloaded", &overloaded(&world).await);
    let app = world.replica(Setup::default()).await;
    sqlx::query("DROP TABLE peers CASCADE")
        .execute(&world.database.pool().await)
        .await
        .unwrap();
    let broken = get(&app, "/v1/users/player-7/resume").await;
    examples.problem("internal", &broken);
}

/// The answer to the second of two snapshots, where the queue takes one.
async fn overloaded(world: &World) -> Answer {
    let app = world
        .replica(Setup {
            store: StoreConfig {
                queue_capacity_kib: 1,
                ..Setup::default().store
            },
            ..Setup::default()
        })
        .await;
    let mut lock = world.database.pool().await.begin().await.unwrap();
    sqlx::query("LOCK TABLE peers IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *lock)
        .await
        .unwrap();
    let path = snapshots_of("peer-1");
    let two = [post(&app, &path), post(&app, &path)].map(Box::pin);
    let (refused, _, waiting) = futures_util::future::select_all(two).await;
    lock.commit().await.unwrap();
    for answer in waiting {
        answer.await.expect(201);
    }
    refused
}

#[tokio::test]
async fn the_examples_of_the_description_are_real() {
    let mut examples = Examples::default();
    story(&mut examples).await;
    own_events(&mut examples).await;
    keys(&mut examples).await;
    unstorable(&mut examples).await;
    outages(&mut examples).await;
    let taken = json!({
        "requests": examples.requests,
        "answers": examples.answers,
        "problems": examples.problems,
        "events": examples.events,
    });
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    if std::env::var_os("UPDATE_EXAMPLES").is_some() {
        std::fs::write(&path, format!("{taken:#}\n")).unwrap();
    }
    let committed: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(
        committed, taken,
        "{FILE} is not what is answered: renew it with UPDATE_EXAMPLES=1"
    );
}
