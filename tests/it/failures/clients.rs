//! Clients that hang up or are slow, at any time.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hms_sim::{Fault, FaultRule, Operation};
use sqlx::PgPool;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::{all_succeed, backends, every_call, open_all_connections, replica_behind_proxy};
use crate::support::raw::connect;
use crate::support::wait::until;
use crate::support::world::{ROOM, Replica, Setup, World};

/// Sends `request` and hangs up after a while.
async fn hang_up(app: &Replica, request: &str, after: Duration) {
    let mut client = connect(app).await;
    client.write_all(request.as_bytes()).await.unwrap();
    sleep(after).await;
}

fn snapshot_of(peer: &str) -> String {
    format!(
        "POST /v1/rooms/{ROOM}/peers/{peer}/snapshots HTTP/1.1\r\nhost: rejoin\r\ncontent-length: 0\r\n\r\n"
    )
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: rejoin\r\n\r\n")
}

async fn no_statement_and_no_transaction_is_open(pool: &PgPool) {
    until("every statement ends", async || {
        backends(pool, "state <> 'idle'").await == 0
    })
    .await;
    assert_eq!(backends(pool, "xact_start IS NOT NULL").await, 0);
}

#[tokio::test]
async fn hanging_up_in_the_middle_of_a_request_changes_nothing() {
    let (world, app) = World::with_app().await;
    world.join("player-7", "peer-1", "saved");
    app.snapshot("peer-1").await.expect(201);
    world.set("peer-1", "never asked for");
    let asked = world.sim.request_count();
    let whole = snapshot_of("peer-1");
    join_all(
        (1..whole.len())
            .step_by(7)
            .map(|sent| hang_up(&app, &whole[..sent], Duration::from_millis(20))),
    )
    .await;
    let body_missing = whole.replace("content-length: 0", "content-length: 5");
    hang_up(&app, &body_missing, Duration::from_millis(20)).await;
    assert_eq!(app.resumed_metadata("player-7").await, "saved");
    assert_eq!(world.sim.request_count(), asked);
    all_succeed(every_call(&app).await);
}

#[tokio::test]
async fn a_snapshot_whose_client_hung_up_is_saved() {
    let world = World::new().await;
    let (app, proxy) = replica_behind_proxy(&world).await;
    let pool = world.database.pool().await;
    world.join("player-7", "peer-1", "0");
    for (round, after) in [0, 20, 60, 100, 150, 200, 250, 300, 350, 400]
        .into_iter()
        .enumerate()
    {
        // While 100ms is slow, or while the database is.
        if round % 2 == 0 {
            world
                .sim
                .set_faults([FaultRule::always(Operation::Any, Fault::DelayMs(200))]);
            proxy.delay(Duration::ZERO);
        } else {
            world.sim.set_faults([]);
            proxy.delay(Duration::from_millis(60));
        }
        let state = format!("after {after} ms");
        world.set("peer-1", &state);
        let asked = world.sim.request_count();
        hang_up(&app, &snapshot_of("peer-1"), Duration::from_millis(after)).await;
        if world.sim.request_count() > asked {
            until("the snapshot is saved", async || {
                resumed_if_any(&app, "player-7").await == state
            })
            .await;
        }
    }
    no_statement_and_no_transaction_is_open(&pool).await;
    all_succeed(every_call(&app).await);
}

async fn resumed_if_any(app: &Replica, user: &str) -> String {
    app.resume(user).await.json()["metadata_raw"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test]
async fn hanging_up_while_a_statement_runs_does_not_break_its_connection() {
    let world = World::new().await;
    let (app, proxy) = replica_behind_proxy(&world).await;
    let pool = world.database.pool().await;
    for player in 0..8 {
        world.join(
            &format!("player-{player}"),
            &format!("peer-{player}"),
            &format!("state {player}"),
        );
    }
    join_all((0..8).map(async |player| app.snapshot(&format!("peer-{player}")).await.expect(201)))
        .await;
    proxy.delay(Duration::from_millis(15));
    let reads = [
        "/v1/users/player-1/resume",
        "/v1/users/player-1/snapshots",
        "/health/ready",
    ]
    .map(get);
    for after in (0..90).step_by(6) {
        let writes = (0..8).map(|player| snapshot_of(&format!("peer-{player}")));
        let all: Vec<String> = reads
            .iter()
            .cloned()
            .cycle()
            .take(12)
            .chain(writes)
            .collect();
        world.clock.advance(Duration::from_secs(1));
        join_all(
            all.iter()
                .map(|request| hang_up(&app, request, Duration::from_millis(after))),
        )
        .await;
        join_all((0..8).map(async |player| {
            assert_eq!(
                app.resumed_metadata(&format!("player-{player}")).await,
                format!("state {player}")
            );
        }))
        .await;
    }
    no_statement_and_no_transaction_is_open(&pool).await;
    assert!(
        backends(&pool, "true").await <= 6,
        "no more connections than batch workers, history and a ping need"
    );
    let rows = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM snapshots")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(rows, 8, "observed again and again, but never changed");
}

#[tokio::test]
async fn hanging_up_while_the_database_does_not_answer_leaks_no_connection() {
    let world = World::new().await;
    let (app, mut proxy) = replica_behind_proxy(&world).await;
    world.join("player-7", "peer-1", "saved");
    app.snapshot("peer-1").await.expect(201);
    open_all_connections(&app).await;
    proxy.strand().await;
    let requests = [
        "/v1/users/player-7/resume",
        "/v1/users/player-7/snapshots",
        "/health/ready",
    ]
    .map(get);
    let many: Vec<&String> = requests.iter().cycle().take(60).collect();
    join_all(
        many.iter()
            .map(|request| hang_up(&app, request, Duration::from_millis(100))),
    )
    .await;
    // The connections that do not answer are replaced in time.
    let start = Instant::now();
    until("every call succeeds", async || {
        every_call(&app)
            .await
            .iter()
            .all(|(_, answer)| answer.status.is_success())
    })
    .await;
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
}

/// What the service sends until it closes the connection, and how long that takes.
async fn until_closed(mut client: TcpStream, sent: &str) -> (String, Duration) {
    let start = Instant::now();
    client.write_all(sent.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    let _ = client.read_to_end(&mut received).await;
    (String::from_utf8(received).unwrap(), start.elapsed())
}

#[tokio::test]
async fn connections_of_slow_clients_are_closed_and_delay_no_other_client() {
    let world = World::new().await;
    let app = world.replica(Setup::with_webhooks()).await;
    world.join("player-7", "peer-1", "saved");
    app.snapshot("peer-1").await.expect(201);
    let _idle = join_all((0..200).map(|_| connect(&app))).await;
    let connection = kept_alive(&app).await;

    let half_a_head = "GET /v1/users/player-7/resume HTTP/1.1\r\nhost: rej";
    let half_a_body = snapshot_of("peer-1").replace(
        "content-length: 0",
        "content-length: 5\r\nconnection: close",
    ) + "ab";
    let half_an_event = "POST /v1/webhooks/100ms HTTP/1.1\r\nhost: rejoin\r\nx-rejoin-secret: webhook-secret-1\r\n\
                         content-length: 500\r\nconnection: close\r\n\r\n{\"type\":";
    let others = async {
        for _ in 0..20 {
            let start = Instant::now();
            all_succeed(every_call(&app).await);
            assert!(
                start.elapsed() < Duration::from_secs(2),
                "{:?}",
                start.elapsed()
            );
        }
    };
    let (head, body, event, ()) = tokio::join!(
        until_closed(connect(&app).await, half_a_head),
        until_closed(connect(&app).await, &half_a_body),
        until_closed(connect(&app).await, half_an_event),
        others
    );
    for (_, took) in [&head, &body, &event] {
        assert!(*took < Duration::from_secs(12), "{took:?}");
    }
    for (answer, _) in [body, event] {
        assert!(
            answer.starts_with("HTTP/1.1 400") && answer.contains("invalid-request"),
            "{answer}"
        );
    }
    // Between requests a client may wait for longer than for a head.
    answers_again(connection).await;
}

/// A connection on which a request was answered.
async fn kept_alive(app: &Replica) -> TcpStream {
    let mut client = connect(app).await;
    client
        .write_all(get("/health/live").as_bytes())
        .await
        .unwrap();
    let mut answer = [0; 1024];
    let length = client.read(&mut answer).await.unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
    client
}

async fn answers_again(client: TcpStream) {
    let request = get("/health/live").replace("host:", "connection: close\r\nhost:");
    let (answer, _) = until_closed(client, &request).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// A page of some 16 MB is more than the buffers of sockets hold.
#[tokio::test]
async fn the_connection_of_a_client_that_does_not_read_its_answer_is_closed() {
    let world = World::new().await;
    let app = world.replica(Setup::with_max_metadata_bytes(2 << 20)).await;
    world.join("player-7", "peer-1", "");
    for number in 0..10 {
        world.set("peer-1", &format!("{number}{}", "x".repeat(1_000_000)));
        app.snapshot("peer-1").await.expect(201);
    }
    let whole = app.history("player-7").await.expect(200).text.len();
    assert!(whole > 16_000_000, "{whole}");
    let mut client = connect(&app).await;
    let request =
        get("/v1/users/player-7/snapshots").replace("host:", "connection: close\r\nhost:");
    client.write_all(request.as_bytes()).await.unwrap();
    // The answer is on its way: on a busy machine, making it takes seconds.
    client.peek(&mut [0]).await.unwrap();
    sleep(Duration::from_secs(23)).await;
    let mut received = Vec::new();
    let _ = client.read_to_end(&mut received).await;
    assert!(
        received.starts_with(b"HTTP/1.1 200") && received.len() < whole,
        "{} of {whole}",
        received.len()
    );
}
