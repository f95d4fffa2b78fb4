//! The real program: told to stop, killed, and started twice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use hms_sim::{Fault, FaultRule, Join, Operation, WireMetadata};
use reqwest::{Client, StatusCode};
use rustix::process::Signal;
use serde_json::Value;
use sqlx::Row;
use tokio::net::TcpStream;

use super::until;
use crate::support::postgres;
use crate::support::program::{Program, Upstream};
use crate::support::world::ROOM;

fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

fn join(upstream: &Upstream, user: &str, peer: &str, metadata: &str) {
    let join = Join {
        peer_id: Some(peer.to_owned()),
        ..Join::of(user).with_metadata(WireMetadata::text(metadata))
    };
    upstream.sim.join(ROOM, join).unwrap();
}

/// Takes a snapshot; none where the program went away.
async fn snapshot(client: &Client, base: &str, peer: &str) -> Option<(StatusCode, Value)> {
    let answer = client
        .post(format!("{base}/v1/rooms/{ROOM}/peers/{peer}/snapshots"))
        .send()
        .await
        .ok()?;
    let status = answer.status();
    Some((status, answer.json().await.ok()?))
}

async fn resumed(client: &Client, base: &str, user: &str) -> String {
    let answer = client
        .get(format!("{base}/v1/users/{user}/resume"))
        .send()
        .await
        .unwrap();
    let answer: Value = answer.error_for_status().unwrap().json().await.unwrap();
    answer["metadata_raw"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_request_in_flight_is_answered_after_sigterm() {
    let (upstream, database) = (Upstream::start().await, postgres::database().await);
    let mut stopped = Program::serve(database.url(), &upstream).await;
    let other = Program::serve(database.url(), &upstream).await;
    join(&upstream, "player-7", "peer-1", "saved at the last moment");
    upstream
        .sim
        .set_faults([FaultRule::times(Operation::Any, 1, Fault::DelayMs(1_000))]);

    let client = client();
    let _idle = client
        .get(format!("{}/health/live", stopped.base))
        .send()
        .await
        .unwrap();
    let in_flight = snapshot(&client, &stopped.base, "peer-1");
    let address = stopped.base.trim_start_matches("http://").to_owned();
    let told = async {
        until("the request is in flight", async || {
            upstream.sim.request_count() == 1
        })
        .await;
        stopped.signal(Signal::TERM);
        until("new connections are refused", async || {
            TcpStream::connect(&address).await.is_err()
        })
        .await;
    };
    let (answer, ()) = tokio::join!(in_flight, told);
    let (status, body) = answer.expect("an answer");
    assert_eq!(
        (status, &body["metadata_raw"]),
        (StatusCode::CREATED, &"saved at the last moment".into())
    );
    assert_eq!(stopped.ended().await.code(), Some(0));
    assert_eq!(
        resumed(&client, &other.base, "player-7").await,
        "saved at the last moment"
    );
    let (status, _) = snapshot(&client, &other.base, "peer-1").await.unwrap();
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn no_acknowledged_snapshot_is_missing_after_kill_9() {
    const WRITERS: usize = 8;
    const ENOUGH: usize = 300;
    let (upstream, database) = (Upstream::start().await, postgres::database().await);
    let mut killed = Program::serve(database.url(), &upstream).await;
    let (client, acknowledged) = (client(), AtomicUsize::new(0));
    let write = async |writer: usize| {
        let (user, peer, mut kept) = (
            format!("player-{writer}"),
            format!("peer-{writer}"),
            Vec::new(),
        );
        join(&upstream, &user, &peer, "start");
        for turn in 0.. {
            let state = format!("{user} at {turn}");
            upstream
                .sim
                .set_metadata(ROOM, &peer, WireMetadata::text(&state))
                .unwrap();
            let Some((status, body)) = snapshot(&client, &killed.base, &peer).await else {
                break;
            };
            assert_eq!(
                (status, &body["metadata_raw"]),
                (StatusCode::CREATED, &state.clone().into()),
                "{body}"
            );
            kept.push((body["id"].as_str().unwrap().to_owned(), state));
            acknowledged.fetch_add(1, Ordering::SeqCst);
        }
        (user, kept)
    };
    let kill = async {
        until("there is load", async || {
            acknowledged.load(Ordering::SeqCst) >= ENOUGH
        })
        .await;
        killed.signal(Signal::KILL);
    };
    let (written, ()) = tokio::join!(join_all((0..WRITERS).map(write)), kill);
    assert!(!killed.ended().await.success());

    let pool = database.pool().await;
    let rows = sqlx::query("SELECT id::text, convert_from(metadata_raw, 'UTF8') FROM snapshots")
        .fetch_all(&pool)
        .await;
    let rows: BTreeMap<String, String> = rows
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    let restarted = Program::serve(database.url(), &upstream).await;
    for (user, kept) in written {
        for (id, state) in &kept {
            assert_eq!(rows.get(id), Some(state));
        }
        // The last one may have been kept without anybody hearing of it.
        let turn = |state: &str| state.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap();
        let (last, now) = (
            turn(&kept.last().unwrap().1),
            turn(&resumed(&client, &restarted.base, &user).await),
        );
        assert!(now == last || now == last + 1, "{user}: {now} after {last}");
    }
}

#[tokio::test]
async fn two_start_at_once_on_an_empty_database() {
    let (upstream, database) = (Upstream::start().await, postgres::empty_database().await);
    let (one, other) = tokio::join!(
        Program::serve(database.url(), &upstream),
        Program::serve(database.url(), &upstream)
    );
    join(&upstream, "player-7", "peer-1", "saved");
    let client = client();
    let (status, body) = snapshot(&client, &one.base, "peer-1").await.unwrap();
    assert_eq!(status, StatusCode::CREATED, "{body}");
    assert_eq!(resumed(&client, &other.base, "player-7").await, "saved");
}
