//! Hours of everything at once: webhooks, automatic restores, resumes and snapshots, with a restart of the database in the
//! middle. Memory, open files, connections and dead rows have to level off, and nothing that was answered may be missing.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::database::{Database, Server};
use super::players::{Players, Upstream};
use super::report::at_most;
use super::variant::Service;

/// How many players drop and come back at a time.
const PLAYERS: usize = 50;
/// The pause between two looks at what is in use.
const PAUSE: Duration = Duration::from_secs(10);
/// How many resumes are asked for at a time.
const READERS: usize = 4;

/// What is in use at one time.
struct Sample {
    second: u64,
    memory: f64,
    open_files: usize,
    connections: i64,
    peers: i64,
    dead: i64,
}

pub(crate) async fn for_minutes(server: &Server, minutes: u64) {
    println!("\n# {minutes} minutes of everything, with a restart of the database in the middle");
    let length = Duration::from_secs(60 * minutes);
    let database = server.database().await;
    let upstream = Upstream::start().await;
    let service = Service::with_restores(&database.url, &upstream.url);
    let players = Players::new(&upstream, &service);
    let (restored, resumed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let started = Instant::now();
    let playing = async {
        while started.elapsed() < length {
            let first = restored.load(Ordering::Relaxed);
            players.round(first..first + PLAYERS).await;
            restored.fetch_add(PLAYERS, Ordering::Relaxed);
        }
    };
    let reading = futures_util::future::join_all((0..READERS).map(async |reader| {
        while started.elapsed() < length {
            let known = restored.load(Ordering::Relaxed).max(1);
            let number = resumed.fetch_add(1, Ordering::Relaxed);
            players
                .resume(&service, (number * 7_919 + reader) % known)
                .await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }));
    let looking = async {
        while started.elapsed() < length {
            players.snapshot_room(&service).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let restarting = async {
        tokio::time::sleep(length / 2).await;
        restart(&database).await;
    };
    let sampling = async {
        let mut samples = Vec::new();
        while started.elapsed() < length {
            tokio::time::sleep(PAUSE).await;
            samples.extend(sample(&database, &service, started).await);
        }
        samples
    };
    let ((), _, (), (), samples) = tokio::join!(playing, reading, looking, restarting, sampling);
    let restored = restored.into_inner();
    println!(
        "      {restored} players restored, {} resumes",
        resumed.into_inner()
    );
    for index in 0..restored {
        players.expect_state(&service, index).await;
    }
    println!("      no state that was answered is missing");
    report(&samples);
    drop(service);
    upstream.stop().await;
    database.remove().await;
}

/// Kills a backend without warning: the server then restarts all of itself.
async fn restart(database: &Database) {
    let pid = database
        .count(
            "SELECT pid::bigint FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid() LIMIT 1",
        )
        .await;
    let killed = Command::new("kill").args(["-9", &pid.to_string()]).status();
    assert!(killed.expect("kill runs").success(), "backend {pid}");
    println!("      the database is restarted");
}

/// None while the database restarts.
async fn sample(database: &Database, service: &Service, started: Instant) -> Option<Sample> {
    let counts = database
        .try_counts(
            "SELECT ARRAY[
                 (SELECT count(*) FROM pg_stat_activity
                  WHERE datname = current_database() AND pid <> pg_backend_pid()),
                 (SELECT count(*) FROM peers),
                 (SELECT sum(n_dead_tup)::bigint FROM pg_stat_user_tables),
                 pg_database_size(current_database()) >> 20]",
        )
        .await?;
    let [connections, peers, dead, mib] = counts.try_into().ok()?;
    let sample = Sample {
        second: started.elapsed().as_secs(),
        memory: service.memory(),
        open_files: service.open_files(),
        connections,
        peers,
        dead,
    };
    println!(
        "      {:>5} s: {:>6.1} MiB, {:>4} files, {:>3} connections, {:>8} peers, {:>7} dead rows, {:>6} MiB of tables",
        sample.second, sample.memory, sample.open_files, connections, peers, dead, mib
    );
    Some(sample)
}

/// Compares the last quarter with the second one: what levels off is about the same.
fn report(samples: &[Sample]) {
    let quarter = samples.len() / 4;
    let mean = |part: usize, of: fn(&Sample) -> f64| {
        let part = &samples[part * quarter..(part + 1) * quarter];
        part.iter().map(of).sum::<f64>() / part.len() as f64
    };
    let growth = |of: fn(&Sample) -> f64| mean(3, of) - mean(1, of);
    println!("      the last quarter above the second:");
    at_most("RSS", growth(|sample| sample.memory), "MiB", 16.0);
    at_most(
        "open files",
        growth(|sample| sample.open_files as f64),
        "",
        16.0,
    );
    at_most(
        "connections",
        growth(|sample| sample.connections as f64),
        "",
        4.0,
    );
    let dead = |sample: &Sample| 100.0 * sample.dead as f64 / sample.peers as f64;
    at_most("dead rows for 100 peers", growth(dead), "", 20.0);
}
