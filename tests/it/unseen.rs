//! Peers that count as connected and that nobody sees any more: their session at 100ms says when they
//! left, whatever became of the webhooks.

use std::time::Duration;

use hms_sim::{Fault, FaultRule, Operation, Replay};
use rejoin::domain::{PeerId, RoomId, UserId};
use rejoin::store::UnseenPeer;
use serde_json::{Value, json};

use crate::reconciling::Game;
use crate::support::program::Program;
use crate::support::store::store;
use crate::support::wait::until_within;
use crate::support::webhooks::{join_event, send_event};
use crate::support::world::{ROOM, Setup, World};

const PATIENCE: Duration = Duration::from_secs(30);
/// All rooms are watched, and looked at only once.
const WATCHED: &[(&str, &str)] = &[
    ("REJOIN_WATCH", "active"),
    ("REJOIN_WATCH_EVERY", "1h"),
    ("REJOIN_PRESENCE_TIMEOUT", "10s"),
];

/// Whether the peer of this user's state is connected, and why not.
async fn presence(program: &Program, user: &str) -> Value {
    let state = program.app().resume(user).await.expect(200).json();
    let presence = &state["presence"];
    let connected = state["connected_peers"].as_array().unwrap().len();
    json!([presence["status"], presence["reason"], connected])
}

async fn until_reconciled(program: &Program, user: &str) {
    until_within(PATIENCE, "the peer has ended", async || {
        presence(program, user).await == json!(["ended", "reconciled", 0])
    })
    .await;
}

/// How the sessions of peers answered, as the metrics count it.
async fn checks(program: &Program, outcome: &str) -> u64 {
    let series = format!("rejoin_presence_checks_total{{outcome=\"{outcome}\"}}");
    let metrics = program.app().get("/metrics").await.text;
    let line = metrics.lines().find(|line| line.starts_with(&series));
    let value = line.and_then(|line| line.split(' ').next_back());
    value.unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_peer_whose_leave_was_lost_ends_when_it_left_until_its_leave_says_better() {
    let game = Game::new().await;
    let program = game.start_with(WATCHED).await;
    let sim = &game.upstream.sim;
    game.upstream.join("ada", "ada-1", "hp 1");
    game.upstream.join("bob", "bob-1", "hp 2");
    game.all_delivered().await;
    sim.lose_webhooks();
    sim.remove(ROOM, "ada-1", "websocket closed", "").unwrap();
    let left_at = chrono::Utc::now();
    sim.deliver_webhooks();
    assert_eq!(
        presence(&program, "ada").await,
        json!(["connected", null, 1])
    );

    until_reconciled(&program, "ada").await;
    let state = program.app().resume("ada").await.json();
    let since: chrono::DateTime<chrono::Utc> = state["presence"]["since"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(
        (since - left_at).abs() < chrono::TimeDelta::seconds(2),
        "{state}"
    );
    let view = "SELECT jsonb_build_array(status, reason, since = $1) FROM peer_presence WHERE user_id = 'ada'";
    let row: Value = sqlx::query_scalar(view)
        .bind(since)
        .fetch_one(&game.pool)
        .await
        .unwrap();
    assert_eq!(row, json!(["ended", "reconciled", true]));
    // Who is there stays connected, though nobody has seen them for as long.
    until_within(PATIENCE, "the other peer is looked for", async || {
        checks(&program, "connected").await > 0
    })
    .await;
    assert_eq!(
        presence(&program, "bob").await,
        json!(["connected", null, 1])
    );

    let leaves = Replay {
        types: vec!["peer.leave.success".to_owned()],
        ..Replay::default()
    };
    assert_eq!(sim.replay(&leaves), 1);
    game.all_delivered().await;
    let better = json!(["dropped", "websocket closed", 0]);
    assert_eq!(presence(&program, "ada").await, better);
}

#[tokio::test]
async fn a_session_that_cannot_be_read_leaves_its_peers_and_the_others_alone() {
    let game = Game::new().await;
    let program = game.start_with(WATCHED).await;
    let sim = &game.upstream.sim;
    for (room, user) in [("room-a", "ada"), ("room-b", "bob"), ("room-c", "eve")] {
        let join = crate::support::world::join_of(user, user, "hp 1");
        sim.join(room, join).unwrap();
    }
    game.all_delivered().await;
    sim.lose_webhooks();
    for (room, user) in [("room-a", "ada"), ("room-b", "bob"), ("room-c", "eve")] {
        sim.remove(room, user, "websocket closed", "").unwrap();
    }
    sim.set_faults([
        // Of the first session: all attempts of one request.
        FaultRule::times(Operation::Session, 3, Fault::Status(500)),
        FaultRule::times(Operation::Session, 1, Fault::Status(404)),
    ]);
    until_reconciled(&program, "eve").await;
    // What was not known is asked for again.
    assert_eq!(
        presence(&program, "bob").await,
        json!(["connected", null, 1])
    );
    assert_eq!(checks(&program, "unknown").await, 1);
    until_reconciled(&program, "ada").await;
    until_reconciled(&program, "bob").await;
    assert_eq!(checks(&program, "corrected").await, 3);
}

#[tokio::test]
async fn reconciling_ends_peers_whose_leaves_cannot_be_replayed() {
    let game = Game::new().await;
    let program = game.start_with(&[]).await;
    let sim = &game.upstream.sim;
    game.upstream.join("ada", "ada-1", "hp 1");
    game.upstream.join("bob", "bob-1", "hp 2");
    game.all_delivered().await;
    sim.lose_webhooks();
    sim.remove(ROOM, "ada-1", "websocket closed", "").unwrap();
    sim.set_faults([FaultRule::always(Operation::Replay, Fault::Forbidden)]);
    let since = chrono::Utc::now() - chrono::TimeDelta::minutes(5);
    let body = json!({"since": since.format("%FT%TZ").to_string()});
    let asked = program.app().post_json("/v1/reconciliations", &body).await;
    let id = asked.expect(202).json()["id"].take();
    let path = format!("/v1/reconciliations/{}", id.as_str().unwrap());
    until_within(PATIENCE, "it is done", async || {
        program.app().get(&path).await.expect(200).json()["state"] == "finished"
    })
    .await;
    let result = program.app().get(&path).await.json()["result"].take();
    assert_eq!(
        [&result["corrected"], &result["rooms"]],
        [&json!(1), &json!(1)]
    );
    assert_eq!(
        presence(&program, "ada").await,
        json!(["ended", "reconciled", 0])
    );
    assert_eq!(
        presence(&program, "bob").await,
        json!(["connected", null, 1])
    );
}

/// The clock of 100ms, or of the replica that asked, is ahead.
#[tokio::test]
async fn a_departure_that_is_yet_to_come_counts_as_one_of_now() {
    let world = World::new().await;
    let app = world.replica(Setup::with_webhooks()).await;
    let mut join = join_event("p", 0, "hp 71");
    // Before the clock of Postgres.
    join["data"]["joined_at"] = json!("2020-01-01T12:00:00Z");
    send_event(&app, &join).await.expect(200);
    let peer = UnseenPeer {
        user_id: UserId::parse("player-7").unwrap(),
        peer_id: PeerId::parse("p").unwrap(),
    };
    let in_an_hour = chrono::Utc::now() + chrono::TimeDelta::hours(1);
    let (store, room_id) = (store(world.database.url()), RoomId::parse(ROOM).unwrap());
    let settled = store.settle_unseen_peers(room_id, vec![(peer, Some(in_an_hour.into()))]);
    assert_eq!(settled.await.unwrap(), 1);
    let is_past: bool = sqlx::query_scalar("SELECT departed_at <= now() FROM peers")
        .fetch_one(&world.database.pool().await)
        .await
        .unwrap();
    assert!(is_past);
}
