//! Saves through the store, history included, against the simplest upsert of pgbench.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rejoin::domain::{
    Clock, Label, Metadata, Observation, PeerId, PeerKey, RoomId, Source, UserId,
};
use rejoin::store::Store;

use super::MEASUREMENT;
use super::database::{Database, Server, USERS};
use super::report::at_least;

const WRITERS: u32 = 64;

/// The simplest upsert, on a table that [`prepare_upsert`] creates.
pub(crate) const UPSERT: &str = "\\set n random(1, 10000)
\\set hp random(1, 100)
INSERT INTO plain VALUES ('user-' || :n, convert_to('{\"checkpoint\":\"cave-3\",\"hp\":' || :hp || '}', 'UTF8'), now())
ON CONFLICT (user_id) DO UPDATE SET metadata = excluded.metadata, changed_at = excluded.changed_at;
";

pub(crate) async fn against_pgbench(server: &Server) {
    println!("\n# saves through the store, each a change with its row of history");
    let database = server.database().await;
    database.fill(USERS).await;
    prepare_upsert(&database).await;
    let store = database.store();
    saves(&store, 0).await;
    let (mut ours, mut pgbench) = (0.0, 0.0);
    for round in 1..4 {
        ours += saves(&store, round).await / 3.0;
        pgbench += database.pgbench(WRITERS, UPSERT) / 3.0;
    }
    at_least(
        "64 writers, against pgbench upsert",
        ours,
        pgbench,
        "/s",
        1.5,
    );
    drop(store);
    database.remove().await;
}

pub(crate) async fn prepare_upsert(database: &Database) {
    database
        .execute(
            "CREATE TABLE plain (user_id text PRIMARY KEY, metadata bytea NOT NULL, changed_at timestamptz NOT NULL);
             INSERT INTO plain SELECT 'user-' || n, '', now() FROM generate_series(1, 10000) AS n",
        )
        .await;
}

async fn saves(store: &Store, round: u32) -> f64 {
    let (stop, count) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let started = std::time::Instant::now();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            tokio::spawn(write(
                store.clone(),
                round * WRITERS + writer,
                stop.clone(),
                count.clone(),
            ))
        })
        .collect();
    tokio::time::sleep(MEASUREMENT).await;
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.expect("the writer does not panic");
    }
    count.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64()
}

async fn write(store: Store, seed: u32, stop: Arc<AtomicBool>, count: Arc<AtomicU64>) {
    let clock = Clock::system();
    let mut n = seed.wrapping_mul(2_654_435_761);
    while !stop.load(Ordering::Relaxed) {
        n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let index = (n >> 8) % USERS;
        let key = PeerKey::new(
            UserId::parse(&format!("user-{}", 1 + index)).expect("an id"),
            RoomId::parse(&format!("room-{}", index % 100)).expect("an id"),
            PeerId::parse(&format!("peer-{index}")).expect("an id"),
        );
        let metadata = Metadata::from_text(format!("{{\"checkpoint\":\"cave-3\",\"hp\":{n}}}"));
        let observation =
            Observation::new(key.expect("short ids"), clock.now(), Source::Peer, metadata);
        let saved = store.save(Observation {
            role: Some(Label::new("player")),
            ..observation
        });
        saved.await.expect("it is saved");
        count.fetch_add(1, Ordering::Relaxed);
    }
}
