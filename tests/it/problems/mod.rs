//! The HTTP API when something is wrong: every problem code over real HTTP, and nothing but problem details.

mod bodies;
mod description;
mod examples;
mod ids;
mod keys;
mod queries;

use std::collections::BTreeSet;
use std::time::Duration;

use hms_sim::{Fault, FaultRule, Operation, RateLimit, WireMetadata};
use insta::assert_snapshot;
use rejoin::store::StoreConfig;
use reqwest::Method;

use crate::support::problem::problem;
use crate::support::world::{Answer, ROOM, Setup, World};

#[tokio::test]
async fn each_failure_of_100ms_has_its_own_code() {
    let world = World::new().await;
    let setup = Setup::default();
    let app = world.replica(setup.clone()).await;
    world.join("player-7", "peer-1", "x");
    let cases = [
        (Fault::Unauthorized, 502, "upstream-unauthorized"),
        (Fault::Forbidden, 502, "upstream-unauthorized"),
        (Fault::Garbage, 502, "upstream-bad-response"),
        (
            Fault::Redirect("http://127.0.0.1:1/".into()),
            502,
            "upstream-bad-response",
        ),
        (Fault::Status(400), 502, "upstream-bad-response"),
        (Fault::Status(503), 502, "upstream-unavailable"),
        (Fault::CutBody, 502, "upstream-unavailable"),
    ];
    for (fault, status, code) in cases {
        world
            .sim
            .set_faults([FaultRule::always(Operation::Any, fault)]);
        problem(app.snapshot("peer-1").await, status, code);
        problem(app.snapshot_room().await, status, code);
    }
    // Only here: on a busy machine any of the answers above can take this long, and would be late with right.
    let hasty = world
        .replica(Setup {
            timeout: Duration::from_millis(300),
            ..setup.clone()
        })
        .await;
    world
        .sim
        .set_faults([FaultRule::always(Operation::Any, Fault::Hang)]);
    problem(hasty.snapshot("peer-1").await, 504, "upstream-timeout");
    problem(hasty.snapshot_room().await, 504, "upstream-timeout");
    // Each 429 closes the gate of its own replica.
    for (form, wait) in [
        (RateLimit::Header(45), "45"),
        (RateLimit::Message(7), "7"),
        (RateLimit::Bare, "2"),
    ] {
        let app = world.replica(setup.clone()).await;
        world
            .sim
            .set_faults([FaultRule::times(Operation::Any, 1, Fault::RateLimit(form))]);
        let limited = problem(app.snapshot("peer-1").await, 503, "upstream-rate-limited");
        assert_eq!(limited.header("retry-after"), wait, "{form:?}");
        let asked = world.sim.request_count();
        problem(app.snapshot_room().await, 503, "upstream-rate-limited");
        assert_eq!(
            world.sim.request_count(),
            asked,
            "nothing is sent while the gate is closed"
        );
    }
    // Nobody is there at all.
    let upstream_url = Some("http://127.0.0.1:1".to_owned());
    let alone = world
        .replica(Setup {
            upstream_url,
            ..setup
        })
        .await;
    problem(alone.snapshot("peer-1").await, 502, "upstream-unavailable");
    problem(alone.resume("player-7").await, 404, "no-saved-metadata");
}

#[tokio::test]
async fn each_reason_a_peer_cannot_be_stored_has_its_own_code() {
    let world = World::new().await;
    let app = world.replica(Setup::with_max_metadata_bytes(20)).await;
    problem(app.snapshot("peer-1").await, 404, "room-not-active");
    problem(app.snapshot_room().await, 404, "room-not-active");
    world.join("", "no-user", "x");
    world.join("player-7", "large", &"x".repeat(21));
    let lone = WireMetadata::json(r#""a\udc00b""#).unwrap();
    world.join_with("player-8", "lone", lone);
    problem(app.snapshot("peer-1").await, 404, "peer-not-found");
    problem(app.snapshot("no-user").await, 422, "peer-without-user-id");
    problem(
        app.snapshot("lone").await,
        422,
        "metadata-not-representable",
    );
    let large = problem(app.snapshot("large").await, 422, "metadata-too-large").json();
    let detail = large["detail"].as_str().unwrap();
    assert!(
        detail.contains("21") && detail.contains("20"),
        "both sizes: {detail}"
    );
    problem(app.resume("player-7").await, 404, "no-saved-metadata");
    let watch = format!("/v1/rooms/{ROOM}/watch");
    problem(app.get(&watch).await, 404, "room-not-watched");
}

#[tokio::test]
async fn a_database_that_is_away_is_503_everywhere_but_at_the_live_probe() {
    let world = World::new().await;
    let app = world.replica(Setup::without_database()).await;
    world.join("player-7", "peer-1", "x");
    let answers = tokio::join!(
        app.snapshot("peer-1"),
        app.snapshot_room(),
        app.resume("player-7"),
        app.history("player-7"),
        app.get("/v1/watches"),
        app.get("/v1/forwards"),
        app.get("/health/ready"),
    );
    for answer in <[Answer; 7]>::from(answers) {
        let answer = problem(answer, 503, "database-unavailable");
        assert_eq!(answer.header("retry-after"), "1");
        assert!(!answer.text.contains("postgres"), "{}", answer.text);
    }
    app.get("/health/live").await.expect(200);
}

#[tokio::test]
async fn a_fault_of_ours_says_nothing_of_the_inside() {
    let (world, app) = World::with_app().await;
    world.join("player-7", "peer-1", "x");
    sqlx::query("DROP TABLE peers CASCADE")
        .execute(&world.database.pool().await)
        .await
        .unwrap();
    for answer in [app.resume("player-7").await, app.snapshot("peer-1").await] {
        let answer = problem(answer, 500, "internal");
        assert!(
            !answer.text.contains("peers") && !answer.text.contains("relation"),
            "{}",
            answer.text
        );
    }
    // The room as a whole answers; each peer says why it was not stored.
    let room = app.snapshot_room().await.expect(200).json();
    assert_eq!(
        (&room["snapshots"][0], &room["skipped"][0]["code"]),
        (&serde_json::Value::Null, &"internal".into())
    );
}

/// More than the queue of saves takes waits for a locked table: the rest is refused at once, and nothing is lost.
#[tokio::test]
async fn more_than_the_queue_takes_is_overload() {
    const PEERS: usize = 24;
    let world = World::new().await;
    let store = StoreConfig {
        queue_capacity_kib: 16,
        ..Setup::default().store
    };
    let app = world
        .replica(Setup {
            store,
            ..Setup::default()
        })
        .await;
    for peer in 0..PEERS {
        world.join(&format!("player-{peer}"), &format!("peer-{peer}"), "saved");
    }
    let mut lock = world.database.pool().await.begin().await.unwrap();
    sqlx::query("LOCK TABLE peers IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *lock)
        .await
        .unwrap();
    let mut requests = tokio::task::JoinSet::new();
    for peer in 0..PEERS {
        let app = app.clone();
        requests.spawn(async move { app.snapshot(&format!("peer-{peer}")).await });
    }
    // Those that are refused answer while the table is locked; 16 fit, so the others are.
    for _ in 16..PEERS {
        let refused = problem(
            requests.join_next().await.unwrap().unwrap(),
            503,
            "overloaded",
        );
        assert_eq!(refused.header("retry-after"), "1");
    }
    lock.commit().await.unwrap();
    while let Some(answer) = requests.join_next().await {
        answer.unwrap().expect(201);
    }
}

/// More than the contract's codes: that of presence.
#[tokio::test]
async fn what_did_not_drop_or_is_too_old_is_not_resumed() {
    let (world, app) = World::with_app().await;
    world.join("player-7", "peer-1", "saved");
    app.snapshot("peer-1").await.expect(201);
    world.clock.advance(Duration::from_secs(30));
    problem(
        app.get("/v1/users/player-7/resume?only=dropped").await,
        409,
        "not-dropped",
    );
    let old = problem(
        app.get("/v1/users/player-7/resume?max_age=29").await,
        404,
        "saved-metadata-too-old",
    );
    assert!(old.text.contains("30 seconds ago"), "{}", old.text);
    app.get("/v1/users/player-7/resume?max_age=30")
        .await
        .expect(200);
}

#[tokio::test]
async fn paths_and_methods_that_do_not_exist() {
    let (_world, app) = World::with_app().await;
    for path in [
        "/",
        "/v1",
        "/v1/rooms/r",
        "/v1/users/u",
        "/v1/users/u/resume/",
        "/v2/users/u/resume",
    ] {
        problem(app.get(path).await, 404, "not-found");
        problem(app.post(path).await, 404, "not-found");
    }
    let wrong = [
        (Method::GET, "/v1/rooms/r/peers/p/snapshots", "POST"),
        (Method::GET, "/v1/rooms/r/snapshots", "POST"),
        (Method::PUT, "/v1/users/u/resume", "GET,HEAD,POST"),
        (Method::DELETE, "/v1/users/u/snapshots", "GET,HEAD"),
        (Method::PUT, "/health/ready", "GET,HEAD"),
        (Method::OPTIONS, "/metrics", "GET,HEAD"),
    ];
    for (method, path, allow) in wrong {
        let answer = problem(
            Answer::to(app.request(method, path)).await,
            405,
            "method-not-allowed",
        );
        assert_eq!(answer.header("allow"), allow, "{path}");
    }
    let mut text = app.get("/nowhere").await;
    text.text = text.text.replace(text.header("x-request-id"), "(random)");
    assert_snapshot!(text.text, @r#"{"type":"about:blank","title":"Nothing exists at this path","status":404,"detail":"Nothing exists at this path.","code":"not-found","request_id":"(random)"}"#);
}

/// Every code of the description is provoked by a test of this file or of those below it.
#[test]
fn no_code_is_left_out() {
    let sources = [
        include_str!("mod.rs"),
        include_str!("../restores/mod.rs"),
        include_str!("../restores/claims.rs"),
        include_str!("bodies.rs"),
        include_str!("ids.rs"),
        include_str!("keys.rs"),
        include_str!("queries.rs"),
    ];
    // However the arguments of a call are broken into lines.
    let sources = sources.map(|source| source.split_whitespace().collect::<String>());
    let provoked = |code: &str| {
        let ends = [format!(",\"{code}\")"), format!(",\"{code}\",)")];
        sources
            .iter()
            .any(|source| ends.iter().any(|end| source.contains(end)))
    };
    let described: BTreeSet<String> = description::codes().into_keys().collect();
    let missing: Vec<&String> = described.iter().filter(|code| !provoked(code)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
