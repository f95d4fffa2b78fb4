//! The real program passes events on: it is killed, and there are two of it.

use std::collections::{BTreeMap, BTreeSet};

use hms_sim::{WebhookTarget, WireMetadata};
use reqwest::Method;
use rustix::process::Signal;
use serde_json::Value;
use tokio::task::JoinSet;

use super::{Endpoint, assert_in_order, count, join_in, send_joins, until_none_waits};
use crate::support::command::{rejoin, settings};
use crate::support::postgres;
use crate::support::program::{Program, Upstream};
use crate::support::scripted::Answer;
use crate::support::webhooks::{WEBHOOK_SECRET, send_event};
use crate::support::world::ROOM;

fn variables<'a>(
    database_url: &'a str,
    upstream: &'a Upstream,
    endpoint: &'a Endpoint,
) -> Vec<(&'a str, &'a str)> {
    let mut variables = settings(database_url, upstream);
    variables.extend([
        ("REJOIN_WEBHOOK_SECRETS", WEBHOOK_SECRET),
        ("REJOIN_FORWARD_URL", &*endpoint.url),
    ]);
    variables
}

#[tokio::test]
async fn nothing_is_lost_when_a_replica_is_killed_while_it_passes_events_on() {
    let database = postgres::database().await;
    let (upstream, endpoint) = (Upstream::start().await, Endpoint::new().await);
    let variables = variables(database.url(), &upstream, &endpoint);
    let mut dying = Program::start(&[], &variables).await;
    let rooms = ["room-a", "room-b", "room-c", "room-d"];
    endpoint.answers(Answer::hang());
    send_joins(&dying.app(), &rooms, 0..10).await;
    // These are in flight.
    endpoint.until_asked(rooms.len()).await;
    dying.signal(Signal::KILL);
    dying.ended().await;
    endpoint.answers(Answer::ok(""));
    let survivor = Program::start(&[], &variables).await;
    endpoint.until_accepted(40).await;
    let pool = database.pool().await;
    until_none_waits(&pool).await;
    assert_in_order(&endpoint, &rooms, 10);
    let asked = endpoint.server.received().len();
    assert_eq!(asked, 44, "only what was in flight is sent again");
    drop(survivor);
}

/// A replica that is killed while it saves has queued the events of all that it has answered, and of no
/// state twice.
#[tokio::test]
async fn no_own_event_is_lost_or_repeated_when_a_replica_is_killed_while_it_saves() {
    let database = postgres::database().await;
    let (upstream, endpoint) = (Upstream::start().await, Endpoint::new().await);
    let mut variables = variables(database.url(), &upstream, &endpoint);
    variables.extend([
        ("REJOIN_FORWARD_EVENTS", "true"),
        ("REJOIN_FORWARD_METADATA", "true"),
    ]);
    let mut dying = Program::start(&[], &variables).await;
    let app = dying.app();
    let mut sends = JoinSet::new();
    let mut answered = BTreeSet::new();
    for peer in 0..400 {
        let (app, room) = (app.clone(), format!("room-{}", peer % 7));
        let mut event = join_in(&room, &format!("p{peer}"));
        let user = format!("player-{peer}");
        event["data"]["user_id"] = user.clone().into();
        // Before the machine's clock.
        event["data"]["joined_at"] = "2020-01-01T12:00:00Z".into();
        sends.spawn(async move {
            let sent = app.request(Method::POST, "/v1/webhooks/100ms");
            let sent = sent.header(WebhookTarget::DEFAULT_HEADER, WEBHOOK_SECRET);
            let answer = sent.body(event.to_string()).send().await;
            let is_answered = answer.is_ok_and(|answer| answer.status().is_success());
            is_answered.then_some(user)
        });
        if peer == 200 {
            while answered.len() < 50 {
                answered.extend(sends.join_next().await.unwrap().unwrap());
            }
            dying.signal(Signal::KILL);
        }
    }
    while let Some(user) = sends.join_next().await {
        answered.extend(user.unwrap());
    }
    dying.ended().await;
    let _survivor = Program::start(&[], &variables).await;
    let pool = database.pool().await;
    until_none_waits(&pool).await;
    let stored: Vec<String> = sqlx::query_scalar("SELECT user_id FROM peers")
        .fetch_all(&pool)
        .await
        .unwrap();
    let stored: BTreeSet<String> = stored.into_iter().collect();
    assert!(answered.len() >= 50 && answered.is_subset(&stored));
    let events = endpoint.accepted().into_iter();
    let saved: BTreeSet<(String, String)> = events
        .filter(|received| received.body.contains("\"rejoin.state.saved\""))
        .map(|received| {
            let event: Value = serde_json::from_str(&received.body).unwrap();
            let user = event["data"]["user_id"].as_str().unwrap().to_owned();
            // An event that was in flight is sent again, with the same id.
            (user, received.header("webhook-id").unwrap().to_owned())
        })
        .collect();
    let users: Vec<&String> = saved.iter().map(|(user, _)| user).collect();
    assert!(
        users.iter().copied().eq(&stored),
        "{} of {}",
        users.len(),
        stored.len()
    );
}

#[tokio::test]
async fn the_command_announces_what_it_saves_where_it_is_told_to() {
    let database = postgres::database().await;
    let upstream = Upstream::start().await;
    upstream.join("player-7", "p", "hp 71");
    let mut variables = settings(database.url(), &upstream);
    rejoin(&["migrate"], &variables).await.expect(0);
    let snapshot = ["snapshot", "--room", ROOM];
    let pool = database.pool().await;
    rejoin(&snapshot, &variables).await.expect(0);
    assert_eq!(count(&pool, "forwards").await, 0);
    variables.push(("REJOIN_FORWARD_EVENTS", "true"));
    // Where no server passes them on, they would wait for ever.
    let refused = rejoin(&snapshot, &variables).await.expect(2);
    assert!(refused.err.contains("REJOIN_FORWARD_URL"), "{refused:?}");
    variables.push(("REJOIN_FORWARD_URL", "https://hooks.example/"));
    let changed = WireMetadata::text("hp 72");
    upstream.sim.set_metadata(ROOM, "p", changed).unwrap();
    rejoin(&snapshot, &variables).await.expect(0);
    rejoin(&snapshot, &variables).await.expect(0);
    assert_eq!(count(&pool, "forwards WHERE user_id = 'player-7'").await, 1);
}

#[tokio::test]
async fn two_replicas_pass_each_event_on_once_and_never_two_of_a_room_at_once() {
    let database = postgres::database().await;
    let (upstream, endpoint) = (Upstream::start().await, Endpoint::new().await);
    let variables = variables(database.url(), &upstream, &endpoint);
    let replicas = [
        Program::start(&[], &variables).await,
        Program::start(&[], &variables).await,
    ];
    endpoint.answers(Answer::ok("").delayed(std::time::Duration::from_millis(5)));
    let rooms: Vec<String> = (0..12).map(|room| format!("room-{room}")).collect();
    let mut sent = 0;
    for peer in 0..20 {
        for (index, room) in rooms.iter().enumerate() {
            let app = replicas[(peer + index) % 2].app();
            let event = join_in(room, &format!("p{peer}"));
            send_event(&app, &event).await.expect(200);
            sent += 1;
        }
    }
    endpoint.until_accepted(sent).await;
    until_none_waits(&database.pool().await).await;
    let rooms: Vec<&str> = rooms.iter().map(|room| &**room).collect();
    assert_in_order(&endpoint, &rooms, 20);
    let mut ids: BTreeMap<String, usize> = BTreeMap::new();
    for received in endpoint.accepted() {
        let id = received.header("webhook-id").unwrap().to_owned();
        *ids.entry(id).or_default() += 1;
    }
    let counts: BTreeSet<usize> = ids.values().copied().collect();
    assert_eq!((ids.len(), counts), (sent, BTreeSet::from([1])));
}
