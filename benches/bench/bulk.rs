//! Work that somebody waits for, beside work that waits: restore jobs, large rooms, locked rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use chrono::{SecondsFormat, Utc};
use futures_util::future::join_all;
use hms_sim::{Join, WireMetadata};
use sqlx::{Connection, Executor, PgConnection};

use super::MEASUREMENT;
use super::database::{Database, Server, USERS};
use super::load::{self, Load};
use super::players::{Players, Upstream};
use super::report::at_most;
use super::variant::{SECRET, Service};

/// Players whose restore waits for their drop to be reported.
const WAITING: usize = 300;
/// The large rooms, with so many peers of so many bytes of metadata each.
const ROOMS: [&str; 3] = ["cave", "tower", "lake"];
const PEERS: i64 = 1_300;
const METADATA_BYTES: usize = 24 << 10;

pub(crate) async fn beside_what_waits(server: &Server) {
    waiting_restores(server).await;
    large_rooms(server).await;
    locked_row(server).await;
}

async fn waiting_restores(server: &Server) {
    println!("\n# beside {WAITING} restores that wait for a drop");
    let database = server.database().await;
    database.fill(USERS).await;
    let upstream = Upstream::start().await;
    let service = Service::with_restores(&database.url, &upstream.url);
    let players = Players::new(&upstream, &service);
    let idle = Requests::of(&service).await;
    players.play(0..WAITING).await;
    players.come_back(0..WAITING).await;
    let busy = Requests::of(&service).await;
    let jobs = database.count("SELECT count(*) FROM restore_jobs").await;
    println!("      {jobs} jobs wait");
    for ((name, idle), (_, busy)) in idle.0.iter().zip(&busy.0) {
        at_most(
            &format!("{name}, p99 above idle ({:.2} ms)", idle.p99),
            busy.p99 - idle.p99,
            "ms",
            50.0,
        );
    }
    players.report_drops(0..WAITING).await;
    let reported = Instant::now();
    for index in 0..WAITING {
        players.wait_for_state(index).await;
    }
    at_most(
        "last drop reported to last state restored",
        reported.elapsed().as_secs_f64(),
        "s",
        3.0,
    );
    drop(service);
    upstream.stop().await;
    database.remove().await;
}

/// The load of each kind of request.
struct Requests(Vec<(&'static str, Load)>);

impl Requests {
    async fn of(service: &Service) -> Self {
        let key = service.key.clone();
        let history =
            move |n: u32| load::get(&format!("/v1/users/user-{}/snapshots", 1 + n % USERS), &key);
        let bearer = format!("Bearer {}", service.key);
        let claim = move |n: u32| {
            let path = format!("/v1/users/user-{}/resume", 1 + n % USERS);
            let body = r#"{"claimed_by":"bench"}"#;
            let headers = format!("{bearer}\r\ncontent-type: application/json");
            load::post(&path, ("authorization", &headers), body)
        };
        let session_end = |n: u32| webhook(&session_end(n));
        let address = service.address;
        Self(vec![
            ("claims", load::run(address, 2, MEASUREMENT, claim).await),
            ("history", load::run(address, 2, MEASUREMENT, history).await),
            (
                "session ends",
                load::run(address, 2, MEASUREMENT, session_end).await,
            ),
        ])
    }
}

async fn large_rooms(server: &Server) {
    println!(
        "\n# beside {} rooms of {PEERS} peers with 24 KiB each",
        ROOMS.len()
    );
    let database = server.database().await;
    let upstream = Upstream::start().await;
    for room in ROOMS {
        for number in 0..PEERS {
            let join = Join {
                metadata: WireMetadata::text(&metadata_of(number)),
                ..Join::of(&format!("{room}-{number}"))
            };
            upstream.sim.join(room, join).expect("it joins");
        }
    }
    let service = Service::with_webhooks_of(&database.url, &upstream.url);
    let before = service.peak_memory();
    let started = Instant::now();
    let client = reqwest::Client::new();
    let snapshots = join_all(ROOMS.map(async |room| {
        let url = format!("http://{}/v1/rooms/{room}/snapshots", service.address);
        let answer = client.post(url).bearer_auth(&service.key).send().await;
        let body = answer.expect("an answer").error_for_status();
        body.expect("a success").bytes().await.expect("a body");
        started.elapsed()
    }));
    let (times, webhooks) = tokio::join!(snapshots, joins(&service, 8, MEASUREMENT));
    let slowest = times.into_iter().max().unwrap_or_default();
    println!(
        "      all rooms after {:.1} s; no webhook was refused",
        slowest.as_secs_f64()
    );
    at_most("webhooks, p99", webhooks.p99, "ms", 1_000.0);
    println!("      {before:.0} MiB before");
    at_most("peak RSS", service.peak_memory(), "MiB", 200.0);
    let saved = database
        .count("SELECT count(*) FROM peers WHERE user_id LIKE 'cave-%'")
        .await;
    assert_eq!(saved, PEERS, "every peer of a room is saved");
    drop(service);
    upstream.stop().await;
    database.remove().await;
}

async fn locked_row(server: &Server) {
    println!("\n# beside a row that somebody else has locked");
    let database = server.database().await;
    let service = Service::with_webhooks(&database.url);
    let idle = joins(&service, 8, MEASUREMENT).await;
    let locked = join_event("locked", "peer");
    send(&service, &locked).await;
    let mut holder = lock(
        &database,
        "SELECT FROM peers WHERE user_id = 'locked' FOR UPDATE",
    )
    .await;
    let waiting = async {
        for _ in 0..10 {
            send(&service, &join_event("locked", "peer")).await;
        }
    };
    let others = joins(&service, 8, MEASUREMENT);
    let others = tokio::select! {
        others = others => others,
        () = waiting => panic!("the locked row is not waited for"),
    };
    at_most(
        &format!(
            "webhooks of other users, longest (without a lock: {:.1} ms)",
            idle.longest
        ),
        others.longest,
        "ms",
        100.0,
    );
    holder.execute("ROLLBACK").await.expect("it ends");
    drop(service);
    database.remove().await;
}

async fn lock(database: &Database, statement: &'static str) -> PgConnection {
    let connection = PgConnection::connect(&database.url).await;
    let mut connection = connection.expect("the server answers");
    connection.execute("BEGIN").await.expect("it begins");
    connection.execute(statement).await.expect("it locks");
    connection
}

/// Joins of ever new peers.
async fn joins(service: &Service, connections: u32, duration: Duration) -> Load {
    let sent = Arc::new(AtomicU32::new(0));
    let request = move |n: u32| {
        let peer = sent.fetch_add(1, Ordering::Relaxed);
        webhook(&join_event(
            &format!("other-{}", n % USERS),
            &format!("peer-{peer}"),
        ))
    };
    load::run(service.address, connections, duration, request).await
}

async fn send(service: &Service, event: &str) {
    let answer = reqwest::Client::new()
        .post(format!("http://{}/v1/webhooks/100ms", service.address))
        .header("x-rejoin-secret", SECRET)
        .body(event.to_owned())
        .send();
    let _ = answer.await.expect("the service answers");
}

fn webhook(event: &str) -> String {
    load::post("/v1/webhooks/100ms", ("x-rejoin-secret", SECRET), event)
}

fn join_event(user: &str, peer: &str) -> String {
    let now = now();
    format!(
        r#"{{"version":"2.0","id":"event","timestamp":"{now}","type":"peer.join.success",
            "data":{{"room_id":"room","session_id":"session","peer_id":"{peer}","user_id":"{user}",
            "user_name":"seven","role":"player","user_data":"saved","joined_at":"{now}"}}}}"#
    )
}

fn session_end(n: u32) -> String {
    let now = now();
    format!(
        r#"{{"version":"2.0","id":"event","timestamp":"{now}","type":"session.close.success",
            "data":{{"room_id":"room-{}","session_id":"session-{n}","session_stopped_at":"{now}"}}}}"#,
        n % 100
    )
}

fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// An inventory, as JSON.
fn metadata_of(number: i64) -> String {
    let item = format!(r#"{{"item":"potion","slot":{number}}},"#);
    let items = item.repeat(METADATA_BYTES / item.len());
    format!("[{}]", items.trim_end_matches(','))
}
