//! More work than the database takes is refused, and does not pile up.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;

use crate::support::command::settings;
use crate::support::postgres;
use crate::support::program::{Program, Upstream};
use crate::support::proxy::Proxy;
use crate::support::webhooks::{WEBHOOK_SECRET, join_event, send_event};
use crate::support::world::join_of;

/// What a debug build may use with full queues: the 32 MiB that wait, what is on its way, and the
/// program.
const MAX_MIB: u64 = 160;

#[tokio::test]
async fn full_queues_refuse_and_memory_stays_bounded() {
    let (upstream, database) = (Upstream::start().await, postgres::database().await);
    let (mut proxy, url) = Proxy::before(database.url());
    let program = Program::serve(&url, &upstream).await;
    let large = "x".repeat(200 << 10);
    for peer in 0..20 {
        upstream.join("player-7", &format!("peer-{peer}"), &large);
    }
    let app = program.app();
    let before = program.resident_mib();
    proxy.stall();
    // 600 times 200 KiB: nearly four times the capacity of the queue.
    let codes = join_all((0..600).map(async |number| {
        let refused = app
            .snapshot(&format!("peer-{}", number % 20))
            .await
            .expect(503);
        let code = refused.code();
        assert!(refused.headers.contains_key("retry-after"), "{code}");
        code
    }))
    .await;
    let during = program.resident_mib();
    let overloaded = codes.iter().filter(|code| *code == "overloaded").count();
    assert!(overloaded > 100, "{overloaded} of 600 were refused");
    assert!(
        codes
            .iter()
            .all(|code| code == "overloaded" || code == "database-unavailable"),
        "{codes:?}"
    );
    println!(
        "resident: {before} MiB before, {during} MiB with full queues; {overloaded} of 600 refused"
    );
    assert!(
        during < MAX_MIB,
        "{before} MiB before, {during} MiB with full queues"
    );
    proxy.heal();
    let answer = app.snapshot("peer-1").await;
    assert!(answer.status.is_success(), "{}", answer.text);
}

/// What three large rooms at once may add, in a debug build: the lists that are in memory together
/// and what was read of them, at most twice 40 MiB, and what is on its way to Postgres.
const LARGE_ROOMS_MIB: u64 = 130;

#[tokio::test]
async fn large_rooms_at_once_leave_webhooks_and_memory_alone() {
    const PEERS: usize = 500;
    let (upstream, database) = (Upstream::start().await, postgres::database().await);
    let mut variables = settings(database.url(), &upstream);
    variables.extend([
        ("REJOIN_UPSTREAM_TIMEOUT", "60s"),
        ("REJOIN_WEBHOOK_SECRETS", WEBHOOK_SECRET),
    ]);
    let program = Program::start(&[], &variables).await;
    let app = program.app();
    let rooms = ["cave", "tower", "lake"];
    for room in rooms {
        for number in 0..PEERS {
            let (user, peer) = (format!("{room}-{number}"), format!("{room}-peer-{number}"));
            // Many characters that JSON escapes.
            let metadata = format!("[{number}{}]", r#","é\n""#.repeat(3_400));
            upstream
                .sim
                .join(room, join_of(&user, &peer, &metadata))
                .unwrap();
        }
    }
    let before = program.resident_mib();
    let snapshots = join_all(rooms.map(|room| {
        let path = format!("/v1/rooms/{room}/snapshots");
        let app = app.clone();
        async move { app.post(&path).await }
    }));
    let is_done = AtomicBool::new(false);
    let webhooks = async {
        let mut sent = 0;
        while !is_done.load(Ordering::SeqCst) {
            let mut event = join_event(&format!("other-{sent}"), 0, "saved");
            event["data"]["user_id"] = format!("other-{sent}").into();
            send_event(&app, &event).await.expect(200);
            sent += 1;
        }
        sent
    };
    let snapshots = async {
        let snapshots = snapshots.await;
        is_done.store(true, Ordering::SeqCst);
        snapshots
    };
    let (snapshots, sent) = tokio::join!(snapshots, webhooks);
    for (room, snapshot) in rooms.iter().zip(snapshots) {
        let peers: BTreeSet<String> = snapshot
            .expect(200)
            .column("peer_id")
            .iter()
            .map(|peer| peer.as_str().unwrap().to_owned())
            .collect();
        let expected = (0..PEERS).map(|number| format!("{room}-peer-{number}"));
        assert_eq!(peers, expected.collect());
    }
    let highest = program.peak_resident_mib();
    println!("{before} MiB before, at most {highest} MiB; {sent} webhooks meanwhile");
    assert!(sent > 20, "{sent}");
    assert!(
        highest < before + LARGE_ROOMS_MIB,
        "{before} MiB before, at most {highest} MiB"
    );
}
