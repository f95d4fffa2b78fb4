//! The real program passes events on: it is killed, and there are two of it.

use std::collections::{BTreeMap, BTreeSet};

use rustix::process::Signal;

use super::{Endpoint, assert_in_order, join_in, send_joins, until_none_waits};
use crate::support::command::settings;
use crate::support::postgres;
use crate::support::program::{Program, Upstream};
use crate::support::scripted::Answer;
use crate::support::webhooks::{WEBHOOK_SECRET, send_event};

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
