//! Reconciliations that are disturbed: 100ms is away, Postgres too, replicas die, clocks are wrong.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use hms_sim::{Fault, FaultRule, Operation, RateLimit, ReplayEnd, ReplaySettings};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::reconciling::Game;
use crate::support::program::Program;
use crate::support::wait::{until, until_within};
use crate::support::world::{Replica, Setup, World};
use crate::support::{postgres, store};

/// Asks for the last days, and returns the id.
async fn ask_for(app: &Replica, days: i64) -> Uuid {
    let since = (Utc::now() - TimeDelta::days(days)).to_rfc3339();
    let asked = app
        .post_json("/v1/reconciliations", &json!({"since": since}))
        .await;
    asked.expect(202).json()["id"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap()
}

/// The reconciliation once it is in this state.
async fn once(app: &Replica, id: Uuid, state: &str) -> Value {
    let path = format!("/v1/reconciliations/{id}");
    until_within(Duration::from_mins(1), state, async || {
        let now = app.get(&path).await.expect(200).json();
        // Before the first attempt it waits too.
        now["state"] == state && !now["result"].is_null()
    })
    .await;
    app.get(&path).await.expect(200).json()
}

/// The next attempt is due now.
async fn hurry(pool: &PgPool) {
    sqlx::query("UPDATE reconciliations SET due_at = now() WHERE due_at IS NOT NULL")
        .execute(pool)
        .await
        .unwrap();
}

impl Game {
    fn replays(&self) -> usize {
        let requests = self.upstream.sim.requests().into_iter();
        let replays = requests.filter(|request| request.operation == Some(Operation::Replay));
        replays.count()
    }

    fn set_replays(&self, replays: ReplaySettings) {
        let sim = &self.upstream.sim;
        let mut settings = sim.webhook_settings();
        settings.replays = replays;
        sim.set_webhook_settings(settings);
    }

    /// A game with a program, a room, and two events that were lost.
    async fn with_lost_events() -> (Self, Program) {
        let game = Self::new().await;
        let program = game.start_with(&[]).await;
        game.upstream.sim.lose_webhooks();
        game.upstream.join("ada", "ada-1", "hp 7");
        game.upstream.sim.deliver_webhooks();
        tokio::time::sleep(Duration::from_secs(1)).await;
        (game, program)
    }
}

#[tokio::test]
async fn every_step_is_repeated_while_100ms_is_away_for_a_while() {
    let (game, program) = Game::with_lost_events().await;
    let operations = [
        Operation::Replay,
        Operation::ReplayStatus,
        Operation::Sessions,
        Operation::Peers,
    ];
    let faults = operations.into_iter().flat_map(|operation| {
        [
            FaultRule::times(operation, 4, Fault::Status(503)),
            FaultRule::times(operation, 1, Fault::RateLimit(RateLimit::Message(1))),
            FaultRule::times(operation, 4, Fault::Status(500)),
        ]
    });
    game.upstream.sim.set_faults(faults);
    let id = ask_for(&program.app(), 1).await;
    let result = &once(&program.app(), id, "finished").await["result"];
    let expected = json!([2, 0, 1, null]);
    let fields = ["replayed", "not_replayed", "rooms", "problem"];
    assert_eq!(json!(fields.map(|field| &result[field])), expected);
    assert!(
        game.upstream
            .sim
            .faults()
            .iter()
            .all(|rule| rule.times == Some(0))
    );
    assert_eq!(game.replays(), 10);
}

#[tokio::test]
async fn what_cannot_be_done_now_is_tried_again_later() {
    let (game, program) = Game::with_lost_events().await;
    let refused = FaultRule::always(Operation::Any, Fault::Unauthorized);
    game.upstream.sim.set_faults([refused]);
    let app = program.app();
    let id = ask_for(&app, 1).await;
    let waiting = once(&app, id, "waiting").await;
    assert_eq!(waiting["result"]["problem"], "upstream-unauthorized");
    assert_eq!(waiting["result"]["finished_at"], json!(null));
    let next: chrono::DateTime<Utc> = waiting["next_attempt_at"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(next > Utc::now());

    game.upstream.sim.set_faults([]);
    hurry(&game.pool).await;
    let finished = once(&app, id, "finished").await;
    assert_eq!(finished["next_attempt_at"], json!(null));
    let result = &finished["result"];
    assert_eq!(
        [&result["replayed"], &result["problem"]],
        [&json!(2), &json!(null)]
    );
    assert_eq!(app.resumed_metadata("ada").await, "hp 7");
}

#[tokio::test]
async fn a_day_after_the_first_attempt_there_is_no_other() {
    let (game, program) = Game::with_lost_events().await;
    let refused = FaultRule::always(Operation::Any, Fault::Unauthorized);
    game.upstream.sim.set_faults([refused]);
    let app = program.app();
    let id = ask_for(&app, 1).await;
    once(&app, id, "waiting").await;
    sqlx::query(
        "UPDATE reconciliations SET begun_at = begun_at - interval '1 day', due_at = now()",
    )
    .execute(&game.pool)
    .await
    .unwrap();
    let finished = once(&app, id, "finished").await;
    assert_eq!(finished["result"]["problem"], "upstream-unauthorized");
}

#[tokio::test]
async fn a_replica_that_takes_over_goes_on_with_the_same_replays() {
    let (game, mut program) = Game::with_lost_events().await;
    game.set_replays(ReplaySettings {
        delay_ms: 4_000,
        ..ReplaySettings::default()
    });
    let id = ask_for(&program.app(), 20).await;
    until("a replay is noted", async || {
        let noted = "SELECT count(*) FROM reconciliations WHERE replays <> '{}'";
        let noted: i64 = sqlx::query_scalar(noted)
            .fetch_one(&game.pool)
            .await
            .unwrap();
        noted == 1
    })
    .await;
    program.signal(rustix::process::Signal::KILL);
    program.ended().await;
    // As if its lease were over.
    hurry(&game.pool).await;
    let other = game.start_with(&[]).await;
    let result = &once(&other.app(), id, "finished").await["result"];
    assert_eq!(
        [&result["replayed"], &result["problem"]],
        [&json!(2), &json!(null)]
    );
    // One for each of the two pieces.
    assert_eq!(game.replays(), 2);
}

#[tokio::test]
async fn long_gaps_are_replayed_as_far_back_as_100ms_goes() {
    let (game, program) = Game::with_lost_events().await;
    for (days, pieces) in [(20, 2), (40, 3)] {
        game.upstream.sim.clear_requests();
        let id = ask_for(&program.app(), days).await;
        let result = &once(&program.app(), id, "finished").await["result"];
        assert_eq!(result["problem"], json!(null));
        assert_eq!(game.replays(), pieces, "{days} days");
    }
}

#[tokio::test]
async fn a_piece_that_fails_keeps_no_other_from_being_replayed_and_is_begun_again() {
    let (game, program) = Game::with_lost_events().await;
    game.set_replays(ReplaySettings {
        end: Some(ReplayEnd::Canceled),
        ..ReplaySettings::default()
    });
    let app = program.app();
    let id = ask_for(&app, 20).await;
    let waiting = once(&app, id, "waiting").await;
    assert_eq!(waiting["result"]["problem"], "upstream-bad-response");
    assert_eq!(waiting["result"]["rooms"], 1);
    assert_eq!(game.replays(), 2);
    game.set_replays(ReplaySettings::default());
    hurry(&game.pool).await;
    let result = &once(&app, id, "finished").await["result"];
    assert_eq!(
        [&result["replayed"], &result["problem"]],
        [&json!(2), &json!(null)]
    );
    assert_eq!(game.replays(), 4);
}

#[tokio::test]
async fn where_a_replay_has_all_the_events_that_it_can_have_its_halves_are_replayed() {
    let (game, program) = Game::with_lost_events().await;
    let full =
        r#"{"status": "completed", "progress": {"total": 50000, "completed": 50000, "failed": 0}}"#;
    let full = Fault::Answer {
        status: 200,
        content_type: None,
        body: full.to_owned(),
    };
    let full = FaultRule::times(Operation::ReplayStatus, 1, full);
    game.upstream.sim.set_faults([full]);
    let id = ask_for(&program.app(), 1).await;
    once(&program.app(), id, "finished").await;
    assert_eq!(game.replays(), 3);
}

#[tokio::test]
async fn a_wrong_clock_of_a_replica_does_not_change_what_is_replayed() {
    let world = World::new().await;
    let pool = world.database.pool().await;
    // The world's clock is ahead of Postgres's, and now behind it.
    world.clock.rewind(TimeDelta::days(10));
    let app = world
        .replica(Setup {
            has_chores: true,
            ..Setup::with_webhooks()
        })
        .await;
    let id = ask_for(&app, 1).await;
    let finished = once(&app, id, "finished").await;
    assert_eq!(finished["result"]["problem"], json!(null));
    let requests = world.sim.requests().into_iter();
    let replays: Vec<Value> = requests
        .filter(|request| request.operation == Some(Operation::Replay))
        .map(|request| serde_json::from_str(&request.body.unwrap()).unwrap())
        .collect();
    assert_eq!(replays.len(), 1);
    let times = sqlx::query_as("SELECT since - interval '1 minute', begun_at FROM reconciliations");
    let (since, until): (chrono::DateTime<Utc>, chrono::DateTime<Utc>) =
        times.fetch_one(&pool).await.unwrap();
    let seconds = |at: chrono::DateTime<Utc>| at.format("%FT%TZ").to_string();
    assert_eq!(replays[0]["start_time"], seconds(since));
    assert_eq!(replays[0]["end_time"], seconds(until));
}

#[tokio::test]
async fn two_short_gaps_in_a_row_are_reconciled_as_one_that_is_long_enough() {
    for (seconds_between, expected) in [(5.0, 1), (20.0, 0)] {
        let database = postgres::database().await;
        let (store, pool) = (store::store(database.url()), database.pool().await);
        let replica = Uuid::now_v7();
        let pass = async |seconds: f64| {
            let age = "UPDATE replicas SET alive_at = alive_at - make_interval(secs => $1),
                              gap_at = gap_at - make_interval(secs => $1)";
            sqlx::query(age).bind(seconds).execute(&pool).await.unwrap();
        };
        assert!(!store.sign_of_life(replica).await.unwrap());
        pass(8.0).await;
        assert!(!store.sign_of_life(replica).await.unwrap());
        for _ in 0..4 {
            pass(seconds_between / 4.0).await;
            assert!(!store.sign_of_life(replica).await.unwrap());
        }
        pass(8.0).await;
        assert_eq!(store.sign_of_life(replica).await.unwrap(), expected == 1);
        let gaps = sqlx::query_scalar("SELECT count(*) FROM reconciliations");
        let gaps: i64 = gaps.fetch_one(&pool).await.unwrap();
        assert_eq!(gaps, expected);
    }
}
