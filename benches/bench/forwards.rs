//! What passing events on costs whoever sends webhooks: `webhooks --forward`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::net::TcpListener;
use tokio::time::{Duration, Instant, sleep};

use super::database::{Database, Server, USERS};
use super::report::at_least;
use super::variant::Service;
use super::webhooks::events;

/// How often the two take turns.
const ROUNDS: u32 = 5;

pub(crate) async fn against_none(server: &Server) {
    println!("\n# webhooks over HTTP that are passed on, against those that are not");
    let (hangs, accepts) = (hanging().await, accepting().await);
    for (what, endpoint, accepts, bar) in [
        ("an endpoint that hangs", hangs, false, 1.0 / 1.35),
        // Here sending them shares the machine: the figure is for the record.
        ("one on this machine that accepts them", accepts, true, 0.0),
    ] {
        let (with, without) = both(server, endpoint, accepts).await;
        at_least(what, with, without, "/s", bar);
        println!(
            "      a webhook takes {:.2}x of one without",
            without / with
        );
    }
}

/// Webhooks a second with forwards and without, in turns.
async fn both(server: &Server, endpoint: SocketAddr, accepts: bool) -> (f64, f64) {
    let databases = [server.database().await, server.database().await];
    for database in &databases {
        database.fill(USERS).await;
    }
    let url = format!("http://{endpoint}/");
    let services = [
        Service::with_forwards(&databases[0].url, &url),
        Service::with_webhooks(&databases[1].url),
    ];
    let sent = [Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0))];
    let mut per_second = [0.0, 0.0];
    for round in 0..=ROUNDS {
        for (index, service) in services.iter().enumerate() {
            let load = events(service, &sent[index]).await;
            // The first is to warm up.
            if round > 0 {
                per_second[index] += load.per_second / f64::from(ROUNDS);
            }
            if accepts {
                // So that the other one's turn is without this one's work.
                until_none_waits(&databases[0]).await;
            }
        }
    }
    let queued = databases[0]
        .count("SELECT last_value FROM pg_sequences WHERE sequencename = 'forwards_position_seq'")
        .await;
    let sent = i64::from(sent[0].load(Ordering::Relaxed));
    assert!(queued >= sent, "every event is queued: {queued} of {sent}");
    drop(services);
    for database in databases {
        database.remove().await;
    }
    per_second.into()
}

async fn until_none_waits(database: &Database) {
    let start = Instant::now();
    let waiting = database.count("SELECT count(*) FROM forwards").await;
    while database.count("SELECT count(*) FROM forwards").await > 0 {
        sleep(Duration::from_millis(100)).await;
    }
    if waiting > 0 {
        let per_second = waiting as f64 / start.elapsed().as_secs_f64();
        println!("      {per_second:.0} events a second are passed on by themselves");
    }
}

async fn hanging() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        let mut connections = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.push(stream);
        }
    });
    address
}

async fn accepting() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let router = axum::Router::new().fallback(async || "");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}
