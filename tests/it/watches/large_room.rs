//! The largest room that 100ms has, watched by the real program.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use super::WATCH;
use crate::support::command::settings;
use crate::support::postgres;
use crate::support::program::{Program, Upstream};
use crate::support::wait::until_within;
use crate::support::world::Answer;

const PEERS: usize = 20_000;
/// What the program may use at its peak, also as a debug build.
const MAX_MIB: u64 = 250;

#[tokio::test]
async fn a_room_of_20000_peers_is_watched_within_250_mib() {
    let (upstream, database) = (Upstream::start().await, postgres::database().await);
    let mut expected = BTreeMap::new();
    for number in 0..PEERS {
        let (peer, metadata) = (format!("peer-{number}"), metadata_of(number));
        upstream.join(&format!("player-{number}"), &peer, &metadata);
        expected.insert(peer, metadata.into_bytes());
    }
    let mut variables = settings(database.url(), &upstream);
    variables.push(("REJOIN_UPSTREAM_TIMEOUT", "30s"));
    let program = Program::start(&[], &variables).await;
    let app = program.app();
    let request = app.request(Method::PUT, WATCH);
    Answer::to(request.json(&json!({"every": "5s"})))
        .await
        .expect(201);
    let looked = async |changes: usize| {
        until_within(
            Duration::from_secs(30),
            "the room was looked at",
            async || {
                let look = app.get(WATCH).await.json()["last_look"].take();
                assert!(look.is_null() || look["outcome"] == "ok", "{look}");
                look["peers"] == PEERS && look["changes"] == changes
            },
        )
        .await;
    };
    looked(PEERS).await;
    let after_first = program.peak_resident_mib();
    let pool = database.pool().await;
    let stored: Vec<(String, Vec<u8>)> = sqlx::query_as("SELECT peer_id, metadata_raw FROM peers")
        .fetch_all(&pool)
        .await
        .unwrap();
    assert_eq!(stored.len(), PEERS);
    assert!(
        BTreeMap::from_iter(stored) == expected,
        "what is stored differs"
    );
    // Looks at what is known already cost no more.
    looked(0).await;
    let highest = program.peak_resident_mib();
    println!("at most {after_first} MiB at the first look, and {highest} MiB after the second");
    assert!(highest < MAX_MIB, "{highest} MiB");
}

/// What a game stores: some 140 bytes, and 1 kB of every twentieth player.
fn metadata_of(number: usize) -> String {
    let items = if number.is_multiple_of(20) { 75 } else { 5 };
    let items = vec!["rusty-sword"; items];
    json!({"hp": number % 100, "at": [number, number * 7], "level": 3, "items": items}).to_string()
}
