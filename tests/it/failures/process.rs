//! The real program: signalled to stop, killed, and started twice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use hms_sim::{Fault, FaultRule, Operation, WireMetadata};
use reqwest::Method;
use rustix::process::Signal;
use sqlx::Row;
use tokio::net::TcpStream;

use crate::support::postgres;
use crate::support::program::{Program, Upstream};
use crate::support::wait::until;
use crate::support::world::{Answer, ROOM, Replica};

/// Takes a snapshot; none where the program went away.
async fn snapshot_if_running(app: &Replica, peer: &str) -> Option<Answer> {
    let path = format!("/v1/rooms/{ROOM}/peers/{peer}/snapshots");
    Answer::try_to(app.request(Method::POST, &path)).await.ok()
}

#[tokio::test]
async fn a_request_in_flight_is_answered_after_sigterm() {
    let (upstream, database) = (Upstream::start().await, postgres::database().await);
    let mut stopped = Program::serve(database.url(), &upstream).await;
    let other = Program::serve(database.url(), &upstream).await;
    upstream.join("player-7", "peer-1", "saved at the last moment");
    upstream
        .sim
        .set_faults([FaultRule::times(Operation::Any, 1, Fault::DelayMs(1_000))]);

    let app = stopped.app();
    // Leaves an idle connection open.
    app.get("/health/live").await.expect(200);
    let address = stopped.base.trim_start_matches("http://").to_owned();
    let sigterm = async {
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
    let (answer, ()) = tokio::join!(app.snapshot("peer-1"), sigterm);
    assert_eq!(
        answer.expect(201).json()["metadata_raw"],
        "saved at the last moment"
    );
    assert_eq!(stopped.ended().await.code(), Some(0));
    let other = other.app();
    assert_eq!(
        other.resumed_metadata("player-7").await,
        "saved at the last moment"
    );
    other.snapshot("peer-1").await.expect(200);
}

#[tokio::test]
async fn no_acknowledged_snapshot_is_missing_after_kill_9() {
    const WRITERS: usize = 8;
    const ENOUGH: usize = 300;
    let (upstream, database) = (Upstream::start().await, postgres::database().await);
    let mut killed = Program::serve(database.url(), &upstream).await;
    let (app, acknowledged) = (killed.app(), AtomicUsize::new(0));
    let write = async |writer: usize| {
        let (user, peer) = (format!("player-{writer}"), format!("peer-{writer}"));
        let mut saved = Vec::new();
        upstream.join(&user, &peer, "start");
        for number in 0.. {
            let state = format!("{user} at {number}");
            upstream
                .sim
                .set_metadata(ROOM, &peer, WireMetadata::text(&state))
                .unwrap();
            let Some(answer) = snapshot_if_running(&app, &peer).await else {
                break;
            };
            let body = answer.expect(201).json();
            assert_eq!(body["metadata_raw"], state, "{body}");
            saved.push((body["id"].as_str().unwrap().to_owned(), state));
            acknowledged.fetch_add(1, Ordering::SeqCst);
        }
        (user, saved)
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
    let app = restarted.app();
    for (user, saved) in written {
        for (id, state) in &saved {
            assert_eq!(rows.get(id), Some(state));
        }
        // The last one may be stored although its client never had an answer.
        let number = |state: &str| state.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap();
        let (last, now) = (
            number(&saved.last().unwrap().1),
            number(&app.resumed_metadata(&user).await),
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
    upstream.join("player-7", "peer-1", "saved");
    one.app().snapshot("peer-1").await.expect(201);
    assert_eq!(other.app().resumed_metadata("player-7").await, "saved");
}
