//! More work than the database takes is refused, and does not pile up.

use futures_util::future::join_all;

use crate::support::postgres;
use crate::support::program::{Program, Upstream};
use crate::support::proxy::Proxy;

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
