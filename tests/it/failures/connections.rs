//! How many connections, and how large heads of requests, cost how much.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::support::postgres;
use crate::support::program::{Program, Upstream};
use crate::support::raw::connect;
use crate::support::wait::until;
use crate::support::world::{Replica, Setup, World};

/// The head of a request to be live, of so many bytes.
fn head_of(bytes: usize) -> String {
    let (start, end) = (
        "GET /health/live HTTP/1.1\r\nhost: rejoin\r\nconnection: close\r\nx-padding: ",
        "\r\n\r\n",
    );
    let padding = "x".repeat(bytes - start.len() - end.len());
    format!("{start}{padding}{end}")
}

/// What is answered to this request on a new connection; empty where nothing is.
async fn answer(app: &Replica, request: &str) -> String {
    let mut client = connect(app).await;
    // The service may close before it has read everything.
    let _ = client.write_all(request.as_bytes()).await;
    let mut received = Vec::new();
    let _ = timeout(Duration::from_secs(8), client.read_to_end(&mut received)).await;
    String::from_utf8(received).unwrap()
}

#[tokio::test]
async fn heads_of_64_kib_are_served_and_larger_ones_refused() {
    let (_world, app) = World::with_app().await;
    let served = answer(&app, &head_of(64 << 10)).await;
    assert!(served.starts_with("HTTP/1.1 200"), "{served}");
    for bytes in [(64 << 10) + 1, 100 << 10] {
        let refused = answer(&app, &head_of(bytes)).await;
        assert!(refused.starts_with("HTTP/1.1 431"), "{bytes}: {refused}");
    }
}

#[tokio::test]
async fn connections_with_unfinished_heads_cost_little_memory() {
    let (upstream, database) = (Upstream::start().await, postgres::database().await);
    let program = Program::serve(database.url(), &upstream).await;
    let app = program.app();
    app.get("/health/ready").await.expect(200);
    let before = program.resident_mib();
    let unfinished = head_of(380_000);
    let unfinished = &unfinished.as_bytes()[..379_990];
    let clients = join_all((0..400).map(async |_| {
        let mut client = connect(&app).await;
        let _ = timeout(Duration::from_secs(2), client.write_all(unfinished)).await;
        client
    }))
    .await;
    let after = program.resident_mib();
    assert!(after < before + 64, "{before} MiB, then {after} MiB");
    app.get("/health/ready").await.expect(200);
    drop(clients);
}

async fn idle_connections(app: &Replica, count: usize) -> Vec<TcpStream> {
    join_all((0..count).map(|_| connect(app))).await
}

const LIVE: &str = "GET /health/live HTTP/1.1\r\nhost: rejoin\r\n\r\n";
const METRICS: &str = "GET /metrics HTTP/1.1\r\nhost: rejoin\r\n\r\n";
const RESUME: &str =
    "GET /v1/users/player-7/resume HTTP/1.1\r\nhost: rejoin\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn a_connection_over_the_limit_gets_retry_after_and_may_ask_for_health_and_metrics() {
    let world = World::new().await;
    let setup = Setup {
        max_connections: 3,
        ..Setup::default()
    };
    let app = world.replica(setup).await;
    let taken = idle_connections(&app, 3).await;
    let refused = answer(&app, RESUME).await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert!(
        refused.contains("retry-after: 1") && refused.contains("\"code\":\"overloaded\""),
        "{refused}"
    );
    let live = answer(&app, LIVE).await;
    assert!(live.starts_with("HTTP/1.1 200"), "{live}");
    let metrics = answer(&app, METRICS).await;
    let value = |name: &str| -> f64 {
        let sample = metrics.lines().find(|line| line.starts_with(name));
        let sample = sample.unwrap_or_else(|| panic!("{name}: {metrics}"));
        sample.rsplit_once(' ').unwrap().1.parse().unwrap()
    };
    assert!(value("rejoin_connections ") >= 4.0, "{metrics}");
    assert!(
        value("rejoin_connections_refused_total ") >= 3.0,
        "{metrics}"
    );
    drop(taken);
    until("connections that end make space for others", async || {
        answer(&app, RESUME).await.starts_with("HTTP/1.1 404")
    })
    .await;
}

#[tokio::test]
async fn idle_connections_make_space_for_others() {
    let world = World::new().await;
    let setup = Setup {
        max_connections: 3,
        ..Setup::default()
    };
    let app = world.replica(setup).await;
    let _idle = idle_connections(&app, 3).await;
    let refused = answer(&app, RESUME).await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    sleep(Duration::from_secs(5)).await;
    until("one that is not idle is served", async || {
        answer(&app, RESUME).await.starts_with("HTTP/1.1 404")
    })
    .await;
}
