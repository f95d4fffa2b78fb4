//! More work than the database takes: it is refused, not piled up.

use futures_util::future::join_all;
use hms_sim::{Join, WireMetadata};
use reqwest::Client;
use serde_json::Value;

use crate::support::postgres;
use crate::support::program::{Program, Upstream};
use crate::support::proxy::Proxy;
use crate::support::world::ROOM;

/// What a debug build may have in use with full queues: the 32 MiB that wait, what is on its way, and the program.
const MOST_MIB: u64 = 160;

async fn code(client: &Client, url: &str, post: bool) -> String {
    let request = if post {
        client.post(url)
    } else {
        client.get(url)
    };
    let answer = request.send().await.unwrap();
    let (status, retry_after) = (
        answer.status().as_u16(),
        answer.headers().contains_key("retry-after"),
    );
    let body: Value = answer.json().await.unwrap();
    let code = body["code"].as_str().unwrap_or_default().to_owned();
    assert_eq!((status, retry_after), (503, true), "{code}");
    code
}

#[tokio::test]
async fn full_queues_refuse_and_memory_stays_bounded() {
    let (upstream, database) = (Upstream::start().await, postgres::database().await);
    let (mut proxy, url) = Proxy::before(database.url());
    let program = Program::serve(&url, &upstream).await;
    let large = "x".repeat(200 << 10);
    for peer in 0..20 {
        let join = Join {
            peer_id: Some(format!("peer-{peer}")),
            ..Join::of("player-7")
        };
        upstream
            .sim
            .join(ROOM, join.with_metadata(WireMetadata::text(&large)))
            .unwrap();
    }
    let client = Client::builder().no_proxy().build().unwrap();
    let before = program.resident_mib();
    proxy.stall();
    // 600 times 200 KiB: nearly four times what the queue holds.
    let codes = join_all((0..600).map(async |number| {
        let peer = number % 20;
        code(
            &client,
            &format!(
                "{}/v1/rooms/{ROOM}/peers/peer-{peer}/snapshots",
                program.base
            ),
            true,
        )
        .await
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
        during < MOST_MIB,
        "{before} MiB before, {during} MiB with full queues"
    );
    proxy.heal();
    let url = format!("{}/v1/rooms/{ROOM}/peers/peer-1/snapshots", program.base);
    let answer = client.post(url).send().await.unwrap();
    assert!(
        answer.status().is_success(),
        "{}",
        answer.text().await.unwrap()
    );
}
