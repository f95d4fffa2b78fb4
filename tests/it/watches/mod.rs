//! Watches: the API and the command, what begins and ends a watch, the looks of several replicas and
//! at the largest room, 429s, and the fetches that events ask for.

mod api;
mod large_room;
mod looking;
mod moments;
mod rate_limits;
mod replicas;

use hms_sim::Operation;
use rejoin::config::WatchArgs;
use serde_json::Value;

use crate::support::wait::until;
use crate::support::webhooks::send_webhooks;
use crate::support::world::{ROOM, Replica, Setup, World};

const WATCH: &str = "/v1/rooms/627cda81ab4f3b56a077dc33/watch";

/// A world whose 100ms sends webhooks to a replica that watches active rooms, at this interval.
async fn world(every: &str) -> (World, Replica) {
    let world = World::new().await;
    let setup = Setup {
        watches: WatchArgs::active(every, "1000/s"),
        ..Setup::with_webhooks()
    };
    let app = world.replica(setup).await;
    send_webhooks(&world.sim, &app.base);
    (world, app)
}

/// Waits until [`ROOM`] is watched.
async fn until_watched(app: &Replica) {
    until("the room is watched", async || {
        app.get(WATCH).await.status == 200
    })
    .await;
}

async fn until_not_watched(app: &Replica) {
    until("the room is not watched any more", async || {
        app.get(WATCH).await.status == 404
    })
    .await;
}

/// Waits until [`ROOM`] was looked at, and returns the look.
async fn first_look(app: &Replica) -> Value {
    until("the room was looked at", async || {
        !app.get(WATCH).await.json()["last_look"].is_null()
    })
    .await;
    app.get(WATCH).await.json()["last_look"].take()
}

/// How often 100ms was asked for the peers of a room, with this query.
fn lists(world: &World, query: Option<&str>) -> usize {
    let requests = world.sim.requests().into_iter();
    requests
        .filter(|request| request.operation == Some(Operation::Peers))
        .filter(|request| request.query.as_deref() == query)
        .count()
}

/// Makes the next look at [`ROOM`] due now.
async fn make_due(world: &World) {
    let pool = world.database.pool().await;
    sqlx::query("UPDATE watches SET next_look_at = now(), due_at = now() WHERE room_id = $1")
        .bind(ROOM)
        .execute(&pool)
        .await
        .unwrap();
}
