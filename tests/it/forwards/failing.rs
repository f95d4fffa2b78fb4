//! Endpoints that fail, in every way.

use std::time::{Duration, Instant};

use sqlx::PgPool;

use super::{
    Endpoint, assert_in_order, count, forwarding_to, make_due, send_joins, until_none_waits, world,
};
use crate::support::scripted::Answer;
use crate::support::wait::until;
use crate::support::world::World;

/// What is known of the one event: its state, its attempts and how the last one failed.
async fn event(pool: &PgPool) -> (String, i32, Option<String>) {
    let sql = "SELECT state, attempts, last_error FROM forwards";
    sqlx::query_as(sql).fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn each_failure_is_named_and_the_event_comes_later() {
    for (answer, error) in [
        (Answer::new(500, ""), "the endpoint answered status 500"),
        (
            Answer::new(307, "").header("location", "/elsewhere"),
            "the endpoint redirects with status 307, which is not followed",
        ),
        (Answer::gone(), "the endpoint could not be reached: "),
    ] {
        let (world, endpoint, app) = world().await;
        endpoint.answers(answer);
        send_joins(&app, &["room-a"], 0..2).await;
        let pool = world.database.pool().await;
        let sql = "forwards WHERE last_error IS NOT NULL AND NOT sending";
        until("the attempt failed", async || count(&pool, sql).await == 1).await;
        let (last_error,): (String,) =
            sqlx::query_as("SELECT last_error FROM forwards WHERE last_error IS NOT NULL")
                .fetch_one(&pool)
                .await
                .unwrap();
        assert!(last_error.starts_with(error), "{last_error}");
        endpoint.answers(Answer::ok(""));
        endpoint.until_accepted(2).await;
        assert_in_order(&endpoint, &["room-a"], 2);
        let lines = endpoint.server.lines();
        assert!(lines.iter().all(|line| line == "POST /hooks"), "{lines:?}");
        let ids = endpoint.server.received();
        let ids: std::collections::BTreeSet<_> = ids
            .iter()
            .map(|it| it.header("webhook-id").unwrap().to_owned())
            .collect();
        assert_eq!(ids.len(), 2, "an event has one id at all attempts");
    }
}

#[tokio::test]
async fn an_event_that_is_gone_is_dead_at_once_and_others_go_on() {
    let (world, endpoint, app) = world().await;
    endpoint.answers(Answer::new(410, ""));
    send_joins(&app, &["room-a"], 0..1).await;
    let pool = world.database.pool().await;
    let dead = "forwards WHERE state = 'dead' AND dead_at IS NOT NULL";
    until("it is dead", async || count(&pool, dead).await == 1).await;
    assert_eq!(event(&pool).await.1, 1);
    endpoint.answers(Answer::ok(""));
    send_joins(&app, &["room-a"], 1..2).await;
    endpoint.until_accepted(1).await;
    assert_eq!(endpoint.server.received().len(), 2);
    sqlx::query("UPDATE forwards SET dead_at = dead_at - interval '7 days'")
        .execute(&pool)
        .await
        .unwrap();
    until("it is deleted", async || {
        count(&pool, "forwards").await == 0
    })
    .await;
}

#[tokio::test]
async fn an_event_that_fails_for_a_day_is_dead() {
    let (world, endpoint, app) = world().await;
    endpoint.answers(Answer::new(503, ""));
    send_joins(&app, &["room-a"], 0..1).await;
    let pool = world.database.pool().await;
    let failed = "forwards WHERE failing_since IS NOT NULL";
    until("it failed", async || count(&pool, failed).await == 1).await;
    let sql = "UPDATE forwards SET failing_since = now() - interval '24 hours', due_at = now()";
    sqlx::query(sql).execute(&pool).await.unwrap();
    let dead = "forwards WHERE state = 'dead'";
    until("it is dead", async || count(&pool, dead).await == 1).await;
    let error = event(&pool).await.2;
    assert_eq!(error.as_deref(), Some("the endpoint answered status 503"));
}

#[tokio::test]
async fn an_endpoint_that_asks_to_wait_is_left_alone() {
    let (world, endpoint, app) = world().await;
    let pool = world.database.pool().await;
    // The clock of a world stands at 12:00:00.
    for (status, retry_after, expected) in [
        (503, "600", 600.0..=600.0),
        (429, "Tue, 01 Dec 2026 12:10:00 GMT", 600.0..=600.0),
        (429, "86400", 3_600.0..=3_600.0),
        (503, "soon", 1.0..=1.25),
        (500, "600", 1.0..=1.25),
    ] {
        endpoint.answers(Answer::new(status, "").header("retry-after", retry_after));
        send_joins(&app, &["room-a"], 0..1).await;
        let sql = "forwards WHERE failing_since IS NOT NULL AND NOT sending AND attempts = 1";
        until("the attempt failed", async || count(&pool, sql).await == 1).await;
        let sql =
            "DELETE FROM forwards RETURNING extract(epoch FROM due_at - failing_since)::float8";
        let pause: f64 = sqlx::query_scalar(sql).fetch_one(&pool).await.unwrap();
        let what = format!("{status} with {retry_after}: {pause} s");
        assert!(expected.contains(&pause), "{what}");
    }
}

/// As when the event itself ends the replica.
#[tokio::test]
async fn an_event_at_which_no_attempt_ends_is_dead_after_a_day() {
    let (world, endpoint, app) = world().await;
    endpoint.answers(Answer::hang());
    send_joins(&app, &["room-a"], 0..2).await;
    endpoint.until_asked(1).await;
    let pool = world.database.pool().await;
    // Its lease ended.
    let lost = async |attempts: i32, hours: i32| {
        let sql = "UPDATE forwards SET due_at = now(), attempts = $1, received_at = now() - make_interval(hours => $2) WHERE sending";
        let query = sqlx::query(sql).bind(attempts).bind(hours);
        query.execute(&pool).await.unwrap();
    };
    lost(49, 25).await;
    endpoint.until_asked(2).await;
    lost(50, 23).await;
    endpoint.until_asked(3).await;
    assert_eq!(count(&pool, "forwards WHERE state = 'dead'").await, 0);
    lost(50, 25).await;
    let dead = "forwards WHERE state = 'dead' AND dead_at IS NOT NULL AND NOT sending
                AND last_error = 'no attempt came to an end: what sent it stopped each time'";
    until("it is dead", async || count(&pool, dead).await == 1).await;
    endpoint.answers(Answer::ok(""));
    endpoint.until_accepted(1).await;
    assert_eq!(endpoint.peers(), [("room-a".to_owned(), "p1".to_owned())]);
}

#[tokio::test]
async fn an_endpoint_that_hangs_slows_no_webhook() {
    let (world, endpoint, app) = world().await;
    endpoint.answers(Answer::hang());
    let rooms: Vec<String> = (0..40).map(|room| format!("room-{room}")).collect();
    let rooms: Vec<&str> = rooms.iter().map(|room| &**room).collect();
    let start = Instant::now();
    send_joins(&app, &rooms, 0..2).await;
    // One attempt takes 15 s.
    assert!(
        start.elapsed() < Duration::from_secs(12),
        "{:?}",
        start.elapsed()
    );
    endpoint.until_asked(16).await;
    assert_eq!(endpoint.server.received().len(), 16, "so many at once");
    endpoint.answers(Answer::ok(""));
    endpoint.until_accepted(80 - 16).await;
    let pool = world.database.pool().await;
    let timed_out = "forwards WHERE last_error = 'the endpoint did not answer within 15 s'";
    until("the others have timed out", async || {
        make_due(&pool).await;
        count(&pool, timed_out).await > 0 || endpoint.accepted().len() == 80
    })
    .await;
    endpoint.until_accepted(80).await;
    assert_in_order(&endpoint, &rooms, 2);
}

#[tokio::test]
async fn all_that_came_while_the_endpoint_was_down_is_passed_on_in_order() {
    let world = World::new().await;
    let endpoint = Endpoint::new().await;
    let app = world.replica(forwarding_to(&endpoint)).await;
    let rooms = ["room-a", "room-b", "room-c"];
    send_joins(&app, &rooms, 0..5).await;
    endpoint.until_accepted(15).await;
    let pool = world.database.pool().await;
    until_none_waits(&pool).await;
    let (port, accepted) = (endpoint.server.port, endpoint.peers());
    // Its port is closed, and so is each connection when it is used again.
    endpoint.answers(Answer::gone());
    drop(endpoint);
    send_joins(&app, &rooms, 5..15).await;
    let failing = "forwards WHERE failing_since IS NOT NULL";
    until("the first of each room fail", async || {
        count(&pool, failing).await == 3
    })
    .await;
    // For ten minutes, as far as Postgres can tell. Nothing was accepted meanwhile.
    let sql = "UPDATE forwards SET failing_since = failing_since - interval '10 minutes';
               UPDATE forward_endpoint SET accepted_at = accepted_at - interval '11 minutes'";
    sqlx::raw_sql(sql).execute(&pool).await.unwrap();
    let more = "forwards WHERE attempts >= 3";
    until("they fail again", async || {
        make_due(&pool).await;
        count(&pool, more).await == 3
    })
    .await;
    assert_eq!(count(&pool, failing).await, 3, "the others wait");
    let endpoint = Endpoint::at(port).await;
    endpoint.until_accepted(30).await;
    let after = endpoint.peers();
    endpoint.accepted.lock().unwrap().clear();
    for room in rooms {
        let all = accepted
            .iter()
            .chain(&after)
            .filter(|(other, _)| other == room);
        let peers: Vec<&str> = all.map(|(_, peer)| &**peer).collect();
        let expected: Vec<String> = (0..15).map(|peer| format!("p{peer}")).collect();
        assert_eq!(peers, expected, "{room}");
    }
}

#[tokio::test]
async fn once_the_endpoint_is_back_no_room_waits_for_its_pause() {
    let (world, endpoint, app) = world().await;
    endpoint.answers(Answer::new(503, ""));
    let rooms = ["room-a", "room-b"];
    send_joins(&app, &rooms, 0..2).await;
    let pool = world.database.pool().await;
    let failed = "forwards WHERE failing_since IS NOT NULL AND NOT sending";
    until("they fail", async || count(&pool, failed).await == 2).await;
    let sql =
        "UPDATE forwards SET due_at = now() + interval '1 hour' WHERE failing_since IS NOT NULL";
    sqlx::query(sql).execute(&pool).await.unwrap();
    // Unless an attempt was under way.
    let paused = "forwards WHERE due_at > now() + interval '50 minutes' AND NOT sending";
    until("they wait", async || {
        sqlx::query(sql).execute(&pool).await.unwrap();
        count(&pool, paused).await == 2
    })
    .await;
    endpoint.answers(Answer::ok(""));
    send_joins(&app, &["room-c"], 0..1).await;
    endpoint.until_accepted(5).await;
    until_none_waits(&pool).await;
    assert_eq!(endpoint.peers()[0].0, "room-c");
}

#[tokio::test]
async fn an_answer_without_end_is_not_waited_for() {
    let (world, endpoint, app) = world().await;
    endpoint.answers(Answer::ok("x".repeat(200)).stalled());
    let start = Instant::now();
    send_joins(&app, &["room-a"], 0..2).await;
    until_none_waits(&world.database.pool().await).await;
    // Each would take the 15 s of an attempt.
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
    assert_in_order(&endpoint, &["room-a"], 2);
}

#[tokio::test]
async fn an_event_that_alone_fails_lets_others_go_first_after_a_minute() {
    let world = World::new().await;
    let refuses = |body: &str| body.contains("\"p0\"") && body.contains("room-a");
    let endpoint = crate::support::scripted::Scripted::with(move |received| {
        let status = if refuses(&received.body) { 500 } else { 200 };
        Answer::new(status, "")
    })
    .await;
    let url = format!("http://127.0.0.1:{}/", endpoint.port);
    let setup = crate::support::world::Setup {
        forwards: rejoin::config::ForwardArgs::to(&url),
        ..crate::support::world::Setup::with_webhooks()
    };
    let app = world.replica(setup).await;
    send_joins(&app, &["room-a"], 0..2).await;
    let pool = world.database.pool().await;
    let failing = "forwards WHERE failing_since IS NOT NULL";
    until("the first fails", async || count(&pool, failing).await == 1).await;
    assert_eq!(count(&pool, "forwards").await, 2, "the second waits");
    let sql = "UPDATE forwards SET failing_since = now() - interval '61 seconds'
               WHERE failing_since IS NOT NULL";
    sqlx::query(sql).execute(&pool).await.unwrap();
    // Another room shows that the endpoint is there.
    send_joins(&app, &["room-b"], 0..1).await;
    until("the second went first", async || {
        make_due(&pool).await;
        count(&pool, "forwards").await == 1
    })
    .await;
    assert_eq!(
        count(&pool, "forwards WHERE aside AND state = 'waiting'").await,
        1
    );
}
