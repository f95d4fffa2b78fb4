//! What waits and what is dead, over HTTP and by the command.

use reqwest::Method;
use serde_json::Value;
use sqlx::PgPool;

use super::{Endpoint, count, forwarding_to, send_joins};
use crate::support::command::rejoin;
use crate::support::problem::problem;
use crate::support::scripted::Answer as Scripted;
use crate::support::wait::until;
use crate::support::world::{Answer, Replica, Setup, World};

/// A world whose endpoint has refused so many events for good, each of a room of its own.
async fn with_dead(dead: usize) -> (World, Endpoint, Replica, PgPool) {
    let (world, endpoint) = (World::new().await, Endpoint::new().await);
    let app = world.replica(forwarding_to(&endpoint)).await;
    endpoint.answers(Scripted::new(410, ""));
    let rooms: Vec<String> = (0..dead).map(|room| format!("room-{room}")).collect();
    let rooms: Vec<&str> = rooms.iter().map(|room| &**room).collect();
    send_joins(&app, &rooms, 0..1).await;
    let pool = world.database.pool().await;
    let all = i64::try_from(dead).unwrap();
    let sql = "forwards WHERE state = 'dead'";
    until("they are dead", async || count(&pool, sql).await == all).await;
    (world, endpoint, app, pool)
}

async fn post(app: &Replica, path: &str) -> Answer {
    Answer::to(app.request(Method::POST, path)).await
}

/// The rooms of the events on a page.
fn rooms(page: &Value) -> Vec<&str> {
    let forwards = page["forwards"].as_array().unwrap().iter();
    forwards
        .map(|forward| forward["room_id"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn dead_events_are_listed_in_pages_and_sent_again() {
    let (_world, endpoint, app, pool) = with_dead(3).await;
    let first = app
        .get("/v1/forwards?state=dead&limit=2")
        .await
        .expect(200)
        .json();
    assert_eq!(rooms(&first), ["room-0", "room-1"]);
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = format!("/v1/forwards?state=dead&limit=2&cursor={cursor}");
    let rest = app.get(&rest).await.expect(200).json();
    assert_eq!(rooms(&rest), ["room-2"]);
    assert!(rest["next_cursor"].is_null());
    let waiting = app
        .get("/v1/forwards?state=waiting")
        .await
        .expect(200)
        .json();
    assert_eq!(rooms(&waiting), [""; 0]);
    let dead = &first["forwards"][0];
    assert_eq!(dead["last_error"], "the endpoint answered 410: it is gone");
    assert_eq!(
        (&dead["attempts"], &dead["user_id"]),
        (&1.into(), &"player-7".into())
    );

    endpoint.answers(Scripted::ok(""));
    let id = dead["id"].as_str().unwrap();
    let retry = format!("/v1/forwards/{id}/retry");
    let retried = post(&app, &retry).await.expect(200).json();
    assert_eq!(
        (&retried["id"], &retried["state"]),
        (&id.into(), &"waiting".into())
    );
    endpoint.until_accepted(1).await;
    let accepted = endpoint.accepted().remove(0);
    assert_eq!(accepted.header("webhook-id"), Some(id));
    until("it is gone", async || count(&pool, "forwards").await == 2).await;
    problem(post(&app, &retry).await, 404, "not-found");
    let others = post(&app, "/v1/forwards/retry").await.expect(200).json();
    assert_eq!(others["retried"], 2);
    endpoint.until_accepted(3).await;
}

#[tokio::test]
async fn what_is_asked_for_is_checked_and_needs_the_scope_admin() {
    let world = World::new().await;
    let key = rejoin::keys::new_key("reader", "history+resume+snapshot").unwrap();
    let app = world
        .replica(Setup {
            keys: key.entry.clone(),
            ..Setup::default()
        })
        .await
        .with_key(&key.key);
    problem(app.get("/v1/forwards").await, 403, "forbidden");
    problem(post(&app, "/v1/forwards/retry").await, 403, "forbidden");
    let app = world.replica(Setup::default()).await;
    for bad in [
        "state=gone",
        "limit=0",
        "limit=501",
        "cursor=0",
        "cursor=+1",
        "since=1",
    ] {
        let path = format!("/v1/forwards?{bad}");
        problem(app.get(&path).await, 400, "invalid-request");
    }
    let no_id = post(&app, "/v1/forwards/7/retry").await;
    problem(no_id, 400, "invalid-request");
}

#[tokio::test]
async fn the_command_lists_dead_events_and_sends_them_again() {
    let (world, endpoint, _app, _pool) = with_dead(3).await;
    let variables = [("DATABASE_URL", world.database.url())];
    let listed = rejoin(&["forward", "--list-dead"], &variables)
        .await
        .expect(0);
    let lines: Vec<Value> = listed
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let listed: Vec<&str> = lines
        .iter()
        .map(|line| line["room_id"].as_str().unwrap())
        .collect();
    assert_eq!(listed, ["room-0", "room-1", "room-2"]);
    endpoint.answers(Scripted::ok(""));
    let id = lines[1]["id"].as_str().unwrap();
    rejoin(&["forward", "--retry", id], &variables)
        .await
        .expect(0);
    endpoint.until_accepted(1).await;
    let all = rejoin(&["forward", "--retry"], &variables).await.expect(0);
    assert_eq!(all.out, "2 events will be sent again\n");
    endpoint.until_accepted(3).await;
    let nothing = "00000000-0000-4000-8000-000000000000";
    let missing = rejoin(&["forward", "--retry", nothing], &variables).await;
    assert_eq!(missing.code, 3, "{missing:?}");
    rejoin(&["forward"], &variables).await.expect(2);
}
