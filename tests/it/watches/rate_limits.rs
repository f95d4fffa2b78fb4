//! 429 in all its forms: the background stops until it ends, callers do not, and nothing is lost.

use std::cell::Cell;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hms_sim::{Fault, FaultRule, Operation, RateLimit, Update, WireMetadata};
use rejoin::config::WatchArgs;
use sqlx::{AssertSqlSafe, PgPool};

use super::{first_look, lists, until_watched, world};
use crate::support::wait::until;
use crate::support::world::{ROOM, Replica, Setup, World};

/// How many rooms are watched.
const ROOMS: usize = 8;

fn room(number: usize) -> String {
    format!("room-{number}")
}

/// A world in which rooms are watched and metadata was set that no event reported.
async fn watched_rooms() -> (World, Replica, PgPool) {
    let (world, app) = world("1h").await;
    let pool = world.database.pool().await;
    for number in 0..ROOMS {
        world.join_in(
            &room(number),
            &format!("player-{number}"),
            &format!("p{number}"),
            "",
        );
    }
    until("all rooms are watched", async || {
        let sql = "SELECT count(*) FROM watches";
        let count: i64 = sqlx::query_scalar(sql).fetch_one(&pool).await.unwrap();
        usize::try_from(count).unwrap() == ROOMS
    })
    .await;
    // The first looks are spread over the hour.
    make_due(&pool, "%", 3_600).await;
    world.clock.advance(Duration::from_secs(1));
    for number in 0..ROOMS {
        let metadata = WireMetadata::text(&format!("hp {number}"));
        world
            .sim
            .set_metadata(&room(number), &format!("p{number}"), metadata)
            .unwrap();
    }
    (world, app, pool)
}

/// Makes the looks at these rooms due in so many seconds.
async fn make_due(pool: &PgPool, rooms: &str, seconds: i32) {
    let sql = "UPDATE watches SET next_look_at = now() + make_interval(secs => $2), due_at = now() + make_interval(secs => $2) WHERE room_id LIKE $1";
    sqlx::query(sql)
        .bind(rooms)
        .bind(seconds)
        .execute(pool)
        .await
        .unwrap();
}

/// Waits until every room was looked at and what its player set is saved.
async fn until_all_saved(app: &Replica) {
    until("all rooms are looked at", async || {
        let saved = join_all((0..ROOMS).map(async |number| {
            let state = app.resume(&format!("player-{number}")).await;
            state.status == 200 && state.json()["metadata_raw"] == format!("hp {number}")
        }));
        saved.await.into_iter().all(|is_saved| is_saved)
    })
    .await;
}

/// Waits until 100ms was asked for more lists than so many, and returns a time at which it was not.
async fn until_more_lists(world: &World, than: usize) -> Instant {
    let before = Cell::new(Instant::now());
    until("100ms is asked for another list", async || {
        let now = Instant::now();
        let is_asked = lists(world, None) > than;
        if !is_asked {
            before.set(now);
        }
        is_asked
    })
    .await;
    before.get()
}

/// What somebody waits for is answered.
async fn assert_callers_are_served(app: &Replica, room: &str, peer: &str) {
    let path = format!("/v1/rooms/{room}/peers/{peer}/snapshots");
    let answer = app.post(&path).await;
    assert!(
        answer.status.is_success(),
        "{} {}",
        answer.status,
        answer.text
    );
}

async fn stopped_by(form: RateLimit, at_least: Duration) {
    let (world, app, pool) = watched_rooms().await;
    let limited = Fault::RateLimit(form);
    world
        .sim
        .set_faults([FaultRule::times(Operation::Peers, 1, limited)]);
    let before = lists(&world, None);
    make_due(&pool, &room(0), 0).await;
    let start = until_more_lists(&world, before).await;
    make_due(&pool, "%", 0).await;
    assert_callers_are_served(&app, &room(0), "p0").await;
    until_more_lists(&world, before + 1).await;
    let wait = start.elapsed();
    assert!(wait >= at_least, "{form:?}: {wait:?}");
    until_all_saved(&app).await;
    let metrics = app.get("/metrics").await.text;
    let series = r#"rejoin_looks_total{kind="room",outcome="upstream-rate-limited"} "#;
    let count = metrics.lines().find_map(|line| line.strip_prefix(series));
    assert_ne!(count.unwrap(), "0");
}

#[tokio::test]
async fn each_form_of_a_429_stops_the_background_and_no_caller() {
    for (form, at_least) in [
        (RateLimit::Header(3), 3),
        // Dates are whole seconds.
        (RateLimit::Date(3), 2),
        (RateLimit::Message(3), 3),
        // Guesses begin with a second.
        (RateLimit::Bare, 1),
        (RateLimit::Nonsense, 1),
    ] {
        stopped_by(form, Duration::from_secs(at_least)).await;
    }
}

/// As long as that, and no longer than an hour, which the unit tests of the gate say.
#[tokio::test]
async fn a_429_for_a_day_stops_the_background_and_no_caller() {
    let (world, app, pool) = watched_rooms().await;
    let limited = Fault::RateLimit(RateLimit::Header(24 * 60 * 60));
    world
        .sim
        .set_faults([FaultRule::times(Operation::Peers, 1, limited)]);
    let before = lists(&world, None);
    make_due(&pool, &room(0), 0).await;
    until_more_lists(&world, before).await;
    make_due(&pool, "%", 0).await;
    // A replica that does not wait asks at once, and for what is due within a second.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        for number in 0..ROOMS {
            assert_callers_are_served(&app, &room(number), &format!("p{number}")).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(lists(&world, None), before + 1);
    // What waits is as late as it is, and waits for any replica.
    let late = app.get("/v1/watches?order=lateness&limit=500").await.json();
    let late = late["watches"].as_array().unwrap();
    assert_eq!(late.len(), ROOMS);
    assert!(
        late.iter().all(|watch| watch["state"] != "looking"),
        "{late:?}"
    );
}

#[tokio::test]
async fn the_list_of_sessions_is_read_on_after_a_429() {
    let world = World::new().await;
    for number in 0..120 {
        world.join_in(&room(number), "player-7", &format!("p{number}"), "hp 1");
    }
    let limited = Fault::RateLimit(RateLimit::Header(1));
    world.sim.set_faults([FaultRule {
        skip: 1,
        ..FaultRule::times(Operation::Sessions, 2, limited)
    }]);
    let setup = Setup {
        watches: WatchArgs::active("1h", "1000/s"),
        ..Setup::default()
    };
    let app = world.replica(setup).await;
    until("all rooms are watched", async || {
        let watches = app.get("/v1/watches?limit=500").await.json();
        watches["watches"].as_array().unwrap().len() == 120
    })
    .await;
}

/// The call that decides what a 404 means.
#[tokio::test]
async fn a_429_to_the_question_whether_a_room_is_active_is_no_answer() {
    let (world, app) = world("1h").await;
    world.join("player-7", "p", "hp 71");
    until_watched(&app).await;
    let pool = world.database.pool().await;
    let limited = Fault::RateLimit(RateLimit::Header(1));
    world.sim.set_faults([
        FaultRule::times(Operation::Peers, 2, Fault::Status(404)),
        FaultRule::times(Operation::Room, 1, limited),
    ]);
    make_due(&pool, ROOM, 0).await;
    assert_eq!(first_look(&app).await["outcome"], "upstream-bad-response");
    let inactive: i32 = sqlx::query_scalar("SELECT inactive_looks::integer FROM watches")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!((inactive, lists(&world, None)), (0, 2));
}

/// The last is sent after the patience with fetches is over.
#[tokio::test]
async fn a_fetch_that_100ms_refuses_with_429s_is_made_after_them() {
    let (world, app) = world("1h").await;
    world.join("player-7", "p", "");
    until_watched(&app).await;
    world.set("p", "hp 71");
    let pool = world.database.pool().await;
    let limited = Fault::RateLimit(RateLimit::Header(1));
    world.sim.set_faults([
        FaultRule::times(Operation::Peer, 2, limited.clone()),
        FaultRule::times(Operation::Peers, 2, limited),
    ]);
    let update = Update {
        role: Some("judge".to_owned()),
        ..Update::default()
    };
    world.sim.update(ROOM, "p", update).unwrap();
    let outlast_patience = async || {
        let is_over = async |condition: &str| -> bool {
            let sql = format!("SELECT count(*) = 1 FROM fetch_jobs WHERE {condition}");
            sqlx::query_scalar(AssertSqlSafe(sql))
                .fetch_one(&pool)
                .await
                .unwrap()
        };
        until("100ms limits the rate", async || {
            is_over("outcome = 'upstream-rate-limited'").await
        })
        .await;
        let sql = "UPDATE fetch_jobs SET queued_at = now() - interval '2 minutes'";
        sqlx::query(sql).execute(&pool).await.unwrap();
        until("the third attempt succeeds", async || {
            is_over("attempts = 3 AND outcome = 'ok' AND due_at IS NULL").await
        })
        .await;
        sqlx::query("DELETE FROM fetch_jobs")
            .execute(&pool)
            .await
            .unwrap();
    };
    outlast_patience().await;
    assert_eq!(app.resumed_metadata("player-7").await, "hp 71");
    // The peers of a user.
    world.set("p", "hp 72");
    world.drop_peer("p");
    world.join("player-7", "q", "");
    outlast_patience().await;
    assert_eq!(app.resumed_metadata("player-7").await, "hp 72");
}
