//! A worker that is killed in the middle of a restore.

use std::time::{Duration, Instant};

use hms_sim::{
    DropOptions, Fault, FaultRule, Join, LeaveAt, Operation, Sim, WebhookTarget, WireMetadata,
};
use rustix::process::Signal;
use serde_json::value::RawValue;
use sqlx::Row;

use crate::support::command::settings;
use crate::support::postgres;
use crate::support::program::{Program, Upstream};
use crate::support::world::ROOM;

const SECRET: &str = "webhook-secret";

/// Starts the program, with restores of its own, and has 100ms tell it everything.
async fn start(database_url: &str, upstream: &Upstream) -> Program {
    let mut variables = settings(database_url, upstream);
    variables.extend([
        ("REJOIN_WEBHOOK_SECRETS", SECRET),
        ("REJOIN_AUTO_RESTORE", "dropped"),
        ("REJOIN_UPSTREAM_TIMEOUT", "1s"),
    ]);
    let program = Program::start(&[], &variables).await;
    let url = format!("{}/v1/webhooks/100ms", program.base);
    let target = WebhookTarget::new(&url, WebhookTarget::DEFAULT_HEADER, SECRET.into()).unwrap();
    upstream.sim.set_webhook_target(Some(target));
    program
}

fn join(sim: &Sim, peer: &str) {
    sim.join(
        ROOM,
        Join {
            peer_id: Some(peer.to_owned()),
            ..Join::of("player-7")
        },
    )
    .unwrap();
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_mins(1),
            "{what}: not within a minute"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn another_takes_up_what_a_killed_worker_has_begun() {
    let (upstream, database) = (Upstream::start().await, postgres::database().await);
    let sim = &upstream.sim;
    let mut killed = start(database.url(), &upstream).await;
    join(sim, "old");
    sim.set_metadata(ROOM, "old", WireMetadata::text("hp 71"))
        .unwrap();
    let options = DropOptions {
        leave_at: Some(LeaveAt::Drop),
        ..DropOptions::default()
    };
    sim.drop_peer(ROOM, "old", options).unwrap();
    until("the drop is told", || sim.pending_deliveries() == 0).await;

    sim.set_faults([FaultRule::times(Operation::Update, 1, Fault::Hang)]);
    join(sim, "new");
    let updates = || {
        sim.requests()
            .iter()
            .filter(|request| request.operation == Some(Operation::Update))
            .count()
    };
    until("the state is being sent", || updates() == 1).await;
    killed.signal(Signal::KILL);
    assert!(!killed.ended().await.success());

    let _another = start(database.url(), &upstream).await;
    let of_new = || sim.peer(ROOM, "new").unwrap().metadata;
    until("the state is back", || {
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
