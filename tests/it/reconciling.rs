//! What happened while no replica could write is asked for again, once.

use std::time::Duration;

use hms_sim::{Fault, FaultRule, Operation, Update, WireMetadata};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::command::{rejoin, settings};
use crate::support::postgres::{self, Database};
use crate::support::program::{Program, Upstream};
use crate::support::proxy::Proxy;
use crate::support::wait::{until, until_within};
use crate::support::webhooks::{WEBHOOK_SECRET, send_webhooks};
use crate::support::world::{ROOM, Setup, World, join_of};

/// A game with a database, in which 100ms sends webhooks to whichever program runs.
pub(crate) struct Game {
    pub(crate) upstream: Upstream,
    pub(crate) database: Database,
    pub(crate) pool: PgPool,
}

impl Game {
    pub(crate) async fn new() -> Self {
        let database = postgres::database().await;
        let pool = database.pool().await;
        Self {
            upstream: Upstream::start().await,
            database,
            pool,
        }
    }

    async fn start(&self) -> Program {
        self.start_with(&[]).await
    }

    /// Starts a program with these variables too, and sends webhooks to it.
    pub(crate) async fn start_with(&self, more: &[(&str, &str)]) -> Program {
        let mut variables = settings(self.database.url(), &self.upstream);
        // Of two values, the later one counts.
        variables.extend(more);
        variables.extend([
            ("REJOIN_WEBHOOK_SECRETS", WEBHOOK_SECRET),
            ("REJOIN_UPSTREAM_RATE", "1000/s"),
            ("REJOIN_UPSTREAM_TIMEOUT", "30s"),
        ]);
        let program = Program::start(&[], &variables).await;
        send_webhooks(&self.upstream.sim, &program.base);
        program
    }

    fn set(&self, peer: &str, metadata: &str) {
        let metadata = WireMetadata::text(metadata);
        self.upstream
            .sim
            .set_metadata(ROOM, peer, metadata)
            .unwrap();
    }

    pub(crate) async fn all_delivered(&self) {
        until("every event is delivered", async || {
            self.upstream.sim.pending_deliveries() == 0
        })
        .await;
    }

    async fn until_sign_of_life(&self) {
        until("a sign of life", async || {
            let count = sqlx::query_scalar("SELECT count(*) FROM replicas");
            let count: i64 = count.fetch_one(&self.pool).await.unwrap();
            count > 0
        })
        .await;
    }

    /// A program was up, so many seconds ago.
    async fn was_up(&self, seconds: f64) {
        let program = self.start().await;
        self.until_sign_of_life().await;
        program.stop().await;
        self.age_signs_of_life(seconds).await;
    }

    /// As if the last sign of life were so many seconds older.
    async fn age_signs_of_life(&self, seconds: f64) {
        sqlx::query("UPDATE replicas SET alive_at = alive_at - make_interval(secs => $1)")
            .bind(seconds)
            .execute(&self.pool)
            .await
            .unwrap();
    }

    async fn reconciliations(&self) -> Vec<Value> {
        sqlx::query_scalar(
            "SELECT jsonb_build_array(finished_at IS NOT NULL, replayed, not_replayed, rooms, problem)
             FROM reconciliations ORDER BY since",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap()
    }

    async fn reconciled(&self) -> Value {
        let patience = Duration::from_mins(1);
        until_within(patience, "the gap is reconciled", async || {
            // Without the wait for what 100ms still tries to deliver.
            sqlx::query("UPDATE reconciliations SET due_at = now() WHERE attempts = 0")
                .execute(&self.pool)
                .await
                .unwrap();
            self.reconciliations()
                .await
                .iter()
                .any(|row| row[0] == true)
        })
        .await;
        self.reconciliations().await.remove(0)
    }
}

/// Before, while and after rejoin may be away.
async fn play(game: &Game, part: usize) {
    let sim = &game.upstream.sim;
    let join = |user: &str, peer: &str, metadata: &str| {
        sim.join(ROOM, join_of(user, peer, metadata)).unwrap();
    };
    match part {
        0 => {
            join("ada", "ada-1", "hp 1");
            join("bob", "bob-1", "");
            join("eve", "eve-1", "hp 8");
        }
        1 => {
            game.set("ada-1", "hp 2");
            sim.remove(ROOM, "ada-1", "websocket closed", "").unwrap();
            sim.leave(ROOM, "eve-1").unwrap();
            join("joe", "joe-1", "hp 5");
            let judge = Update {
                role: Some("judge".to_owned()),
                ..Update::default()
            };
            sim.update(ROOM, "bob-1", judge).unwrap();
        }
        _ => join("ada", "ada-2", ""),
    }
    game.all_delivered().await;
}

/// What resume says of each player, but for times and ids, and what their histories hold.
async fn states(program: &Program) -> Vec<Value> {
    let mut states = Vec::new();
    for user in ["ada", "bob", "eve", "joe"] {
        let resume = program.app().resume(user).await.json();
        let connected = resume["connected_peers"].as_array().into_iter().flatten();
        let connected: Vec<&Value> = connected.map(|peer| &peer["peer_id"]).collect();
        let presence = &resume["presence"];
        let history = program.app().history(user).await.expect(200).json();
        let rows = history["snapshots"].as_array().unwrap().iter();
        let rows: Vec<[&Value; 5]> = rows
            .map(|row| {
                ["peer_id", "metadata_raw", "name", "role", "source"].map(|field| &row[field])
            })
            .collect();
        states.push(json!([
            user,
            resume["metadata_raw"],
            resume["peer_id"],
            presence["status"],
            presence["reason"],
            connected,
            rows,
        ]));
    }
    states
}

/// What [`states`] says at the end of the story, where rejoin is there all the time.
async fn undisturbed() -> Vec<Value> {
    let game = Game::new().await;
    let program = game.start().await;
    for part in 0..3 {
        play(&game, part).await;
    }
    let undisturbed = states(&program).await;
    let expected = ["hp 2", "", "hp 8", "hp 5"].map(|text| json!(text));
    for (state, text) in undisturbed.iter().zip(expected) {
        assert!(state[1] == text || state[1].is_null(), "{state}");
    }
    undisturbed
}

#[tokio::test]
async fn after_a_time_without_a_database_everything_is_as_if_it_had_been_there() {
    let undisturbed = undisturbed().await;
    let game = Game::new().await;
    let (mut proxy, url) = Proxy::before(game.database.url());
    let program = game.start_with(&[("DATABASE_URL", &url)]).await;
    play(&game, 0).await;
    game.until_sign_of_life().await;
    proxy.cut().await;
    game.upstream.sim.lose_webhooks();
    play(&game, 1).await;
    game.upstream.sim.deliver_webhooks();
    tokio::time::sleep(Duration::from_secs(1)).await;
    game.age_signs_of_life(20.0).await;
    proxy.heal();
    assert_eq!(game.reconciled().await, json!([true, 4, 0, 1, null]));
    play(&game, 2).await;
    assert_eq!(states(&program).await, undisturbed);
    assert_eq!(game.reconciliations().await.len(), 1);
}

#[tokio::test]
async fn after_a_downtime_everything_is_as_if_there_had_been_none() {
    let undisturbed = undisturbed().await;
    let game = Game::new().await;
    let mut program = game.start().await;
    play(&game, 0).await;
    game.until_sign_of_life().await;
    program.signal(rustix::process::Signal::KILL);
    program.ended().await;
    game.upstream.sim.lose_webhooks();
    play(&game, 1).await;
    game.upstream.sim.deliver_webhooks();
    // A replay is asked for in whole seconds.
    tokio::time::sleep(Duration::from_secs(1)).await;
    game.age_signs_of_life(20.0).await;
    let program = game.start().await;
    let reconciled = game.reconciled().await;
    assert_eq!(reconciled, json!([true, 4, 0, 1, null]));
    play(&game, 2).await;
    assert_eq!(states(&program).await, undisturbed);
    assert_eq!(game.reconciliations().await.len(), 1);
}

#[tokio::test]
async fn a_short_gap_a_first_start_and_a_wrong_clock_are_nothing_to_reconcile() {
    let game = Game::new().await;
    game.was_up(8.0).await;
    game.start().await.stop().await;
    assert_eq!(game.reconciliations().await, [json!(null); 0]);

    // The clock of these replicas says that it is some day of 2026 and stands still.
    let world = World::new().await;
    let pool = world.database.pool().await;
    let setup = || Setup {
        has_chores: true,
        ..Setup::with_webhooks()
    };
    let _replicas = (world.replica(setup()).await, world.replica(setup()).await);
    until("both give signs of life", async || {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM replicas")
            .fetch_one(&pool)
            .await
            .unwrap();
        count == 2
    })
    .await;
    let gaps: i64 = sqlx::query_scalar("SELECT count(*) FROM reconciliations")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(gaps, 0);
}

#[tokio::test]
async fn a_gap_is_reconciled_once_by_however_many_replicas() {
    let game = Game::new().await;
    game.was_up(60.0).await;
    let replicas = tokio::join!(game.start(), game.start(), game.start());
    game.reconciled().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(game.reconciliations().await.len(), 1);
    let requests = game.upstream.sim.requests().into_iter();
    let replays = requests.filter(|request| request.operation == Some(Operation::Replay));
    assert_eq!(replays.count(), 1);
    drop(replicas);
}

#[tokio::test]
async fn where_100ms_refuses_to_replay_the_rooms_are_looked_at_all_the_same() {
    let game = Game::new().await;
    game.was_up(60.0).await;
    game.upstream.join("ada", "ada-1", "");
    game.set("ada-1", "hp 7");
    let forbidden = FaultRule::always(Operation::Replay, Fault::Forbidden);
    game.upstream.sim.set_faults([forbidden]);
    let program = game.start().await;
    let reconciled = game.reconciled().await;
    assert_eq!(reconciled, json!([true, 0, 0, 1, "upstream-unauthorized"]));
    assert_eq!(program.app().resumed_metadata("ada").await, "hp 7");
    let (_, log) = program.stop().await;
    assert_eq!(
        log.matches("the credentials lack the permission").count(),
        1,
        "{log}"
    );
}

#[tokio::test]
async fn a_time_is_reconciled_by_request_and_by_the_command() {
    let game = Game::new().await;
    let program = game.start().await;
    let app = program.app();
    game.upstream.sim.lose_webhooks();
    game.upstream.join("ada", "ada-1", "hp 7");
    game.upstream.sim.deliver_webhooks();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let since = chrono::Utc::now() - chrono::TimeDelta::minutes(5);
    let since = since.format("%FT%TZ").to_string();
    let asked = app
        .post_json("/v1/reconciliations", &json!({"since": since}))
        .await;
    let asked = asked.expect(202).json();
    let expected = [json!("waiting"), json!(true), json!(null)];
    assert_eq!(
        ["state", "manual", "result"].map(|field| asked[field].clone()),
        expected
    );
    let path = format!("/v1/reconciliations/{}", asked["id"].as_str().unwrap());
    until_within(Duration::from_secs(40), "it is done", async || {
        app.get(&path).await.expect(200).json()["state"] == "finished"
    })
    .await;
    let done = app.get(&path).await.expect(200).json();
    let result = &done["result"];
    assert_eq!(
        [&result["replayed"], &result["problem"]],
        [&json!(2), &json!(null)]
    );
    assert_eq!(app.resumed_metadata("ada").await, "hp 7");

    let database = [("DATABASE_URL", game.database.url())];
    let command = rejoin(&["reconcile", "--since", &since], &database)
        .await
        .expect(0);
    let printed: Value = serde_json::from_str(&command.out).unwrap();
    let progress = "running: 0 events sent again, 0 rooms looked at, 0 peers corrected\n";
    assert!(command.err.contains(progress), "{}", command.err);
    assert_eq!(printed["state"], "finished");
    let page = app
        .get("/v1/reconciliations?limit=1")
        .await
        .expect(200)
        .json();
    assert_eq!(page["reconciliations"], json!([printed]));
    let before = format!(
        "/v1/reconciliations?before={}",
        printed["id"].as_str().unwrap()
    );
    let page = app.get(&before).await.expect(200).json();
    assert_eq!(page["reconciliations"], json!([done]));

    let nobody = format!("/v1/reconciliations/{}", uuid::Uuid::nil());
    assert_eq!(app.get(&nobody).await.expect(404).code(), "not-found");
    for bad in [
        json!({}),
        json!({"since": "2099-01-01T00:00:00Z"}),
        json!({"since": since, "until": since}),
    ] {
        app.post_json("/v1/reconciliations", &bad).await.expect(400);
    }
    let backwards = ["reconcile", "--since", "2099-01-01T00:00:00Z"];
    rejoin(&backwards, &database).await.expect(2);
}

#[tokio::test]
async fn a_replay_that_is_refused_for_a_while_is_asked_for_again() {
    let game = Game::new().await;
    game.was_up(60.0).await;
    let away = FaultRule::times(Operation::Replay, 4, Fault::Status(503));
    game.upstream.sim.set_faults([away]);
    let program = game.start().await;
    assert_eq!(game.reconciled().await, json!([true, 0, 0, 0, null]));
    drop(program);
}
