//! A worker that is killed in the middle of a restore.

use std::time::Duration;

use hms_sim::{DropOptions, Fault, FaultRule, LeaveAt, Operation, WireMetadata};
use rustix::process::Signal;
use serde_json::value::RawValue;
use sqlx::Row;

use crate::support::command::settings;
use crate::support::postgres;
use crate::support::program::{Program, Upstream};
use crate::support::wait::until_within;
use crate::support::webhooks::{WEBHOOK_SECRET, send_webhooks};
use crate::support::world::ROOM;

/// Longer than the lease of a killed worker.
const PATIENCE: Duration = Duration::from_mins(1);

/// Starts the program with automatic restores, and has 100ms send it webhooks.
async fn start(database_url: &str, upstream: &Upstream) -> Program {
    let mut variables = settings(database_url, upstream);
    variables.extend([
        ("REJOIN_WEBHOOK_SECRETS", WEBHOOK_SECRET),
        ("REJOIN_AUTO_RESTORE", "dropped"),
        ("REJOIN_UPSTREAM_TIMEOUT", "1s"),
    ]);
    let program = Program::start(&[], &variables).await;
    send_webhooks(&upstream.sim, &program.base);
    program
}

#[tokio::test]
async fn another_worker_finishes_the_restore_that_a_killed_one_has_begun() {
    let (upstream, database) = (Upstream::start().await, postgres::database().await);
    let sim = &upstream.sim;
    let mut killed = start(database.url(), &upstream).await;
    upstream.join("player-7", "old", "");
    sim.set_metadata(ROOM, "old", WireMetadata::text("hp 71"))
        .unwrap();
    let options = DropOptions {
        leave_at: Some(LeaveAt::Drop),
        ..DropOptions::default()
    };
    sim.drop_peer(ROOM, "old", options).unwrap();
    until_within(PATIENCE, "the drop is delivered", async || {
        sim.pending_deliveries() == 0
    })
    .await;

    sim.set_faults([FaultRule::times(Operation::Update, 1, Fault::Hang)]);
    upstream.join("player-7", "new", "");
    let updates = || {
        sim.requests()
            .iter()
            .filter(|request| request.operation == Some(Operation::Update))
            .count()
    };
    until_within(PATIENCE, "the state is being sent", async || updates() == 1).await;
    killed.signal(Signal::KILL);
    assert!(!killed.ended().await.success());

    let _another = start(database.url(), &upstream).await;
    let of_new = || sim.peer(ROOM, "new").unwrap().metadata;
    until_within(PATIENCE, "the state is restored", async || {
        of_new().as_raw().map(RawValue::get) == Some("\"hp 71\"")
    })
    .await;
    assert_eq!(updates(), 2);
    let pool = database.pool().await;
    let rows = loop {
        let rows = sqlx::query("SELECT outcome, to_peer_id FROM resumes")
            .fetch_all(&pool)
            .await
            .unwrap();
        if !rows.is_empty() {
            break rows;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let rows: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(rows, [("restored".to_owned(), "new".to_owned())]);
}
