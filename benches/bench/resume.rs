//! Resumes over HTTP with an API key: against Postgres alone, and as the data grows.

use std::time::Duration;

use super::MEASUREMENT;
use super::database::{Database, Server, USERS};
use super::load::{self, Load};
use super::report::at_least;
use super::variant::Service;

/// The statement of one resume, for pgbench.
const SELECT: &str = "\\set n random(1, 10000)
SELECT user_id, room_id, peer_id, snapshot_id, metadata_raw, metadata_changed_at, name, role, joined_at, last_observed_at
FROM peers WHERE metadata_changed_at IS NOT NULL AND user_id = 'user-' || :n
ORDER BY metadata_changed_at DESC, joined_at DESC NULLS LAST, peer_id DESC, room_id DESC LIMIT 1;
";

/// Resumes of the first `users` users.
async fn resumes_of(service: &Service, connections: u32, users: u32, duration: Duration) -> Load {
    let key = service.key.clone();
    let request =
        move |n: u32| load::get(&format!("/v1/users/user-{}/resume", 1 + n % users), &key);
    load::run(service.address, connections, duration, request).await
}

async fn resumes(service: &Service, connections: u32) -> Load {
    resumes_of(service, connections, USERS, MEASUREMENT).await
}

pub(crate) async fn against_pgbench(server: &Server) {
    println!("\n# resume over HTTP with a key");
    let database = server.database().await;
    database.fill(USERS).await;
    let (batched, single) = (
        Service::batched(&database.url),
        Service::query_per_request(&database.url),
    );
    resumes(&batched, 64).await;
    // Interleaved, so that a slow phase of the machine affects all three.
    let (mut ours, mut pgbench, mut direct) = (0.0, 0.0, 0.0);
    for _ in 0..3 {
        ours += resumes(&batched, 64).await.per_second / 3.0;
        pgbench += database.pgbench(64, SELECT) / 3.0;
        direct += resumes(&single, 64).await.per_second / 3.0;
    }
    at_least(
        "64 connections, against pgbench select",
        ours,
        pgbench,
        "/s",
        0.65,
    );
    at_least(
        "64 connections, against a query per request",
        ours,
        direct,
        "/s",
        1.6,
    );
    // One request at a time is sensitive to noise: many short rounds, and each variant goes first
    // in half of them.
    let (mut ours, mut direct) = (0.0, 0.0);
    for round in 0..24 {
        let ours_first = round % 2 == 0;
        for is_ours in [ours_first, !ours_first] {
            let (service, rate) = if is_ours {
                (&batched, &mut ours)
            } else {
                (&single, &mut direct)
            };
            *rate += resumes_of(service, 1, USERS, MEASUREMENT / 10)
                .await
                .per_second
                / 24.0;
        }
    }
    at_least(
        "1 connection, against a query per request",
        ours,
        direct,
        "/s",
        0.97,
    );
    drop((batched, single));
    database.remove().await;
}

pub(crate) async fn growth(server: &Server) {
    println!("\n# resume, as the data grows");
    let (small, large, many) = (
        server.database().await,
        server.database().await,
        server.database().await,
    );
    small.fill(USERS).await;
    large.fill(1_000_000).await;
    many.fill(USERS).await;
    add_many_peers(&many).await;
    let services = [&small, &large, &many].map(|database| Service::batched(&database.url));
    let mut rates = [0.0; 2];
    for _ in 0..3 {
        for (rate, service) in rates.iter_mut().zip(&services) {
            *rate += resumes(service, 64).await.per_second / 3.0;
        }
    }
    at_least(
        "1,000,000 rows of history against 10,000",
        rates[1],
        rates[0],
        "/s",
        0.9,
    );
    let (mut one, mut thousand) = (0.0, 0.0);
    for _ in 0..3 {
        one += resumes_of(&services[0], 64, MANY, MEASUREMENT)
            .await
            .per_second
            / 3.0;
        thousand += resumes_of(&services[2], 64, MANY, MEASUREMENT)
            .await
            .per_second
            / 3.0;
    }
    at_least(
        "users with 1,000 peers in 1,000 rooms against 1 each",
        thousand,
        one,
        "/s",
        0.9,
    );
    drop(services);
    for database in [small, large, many] {
        database.remove().await;
    }
}

/// How many users [`add_many_peers`] changes.
const MANY: u32 = 100;

/// Adds 1,000 peers in as many rooms to each of `user-1` to `user-100`.
async fn add_many_peers(database: &Database) {
    database
        .execute(
            "INSERT INTO peers (user_id, room_id, peer_id, version, snapshot_id, source, metadata_raw, metadata_changed_at,
                                joined_at, first_observed_at, last_observed_at)
             SELECT 'user-' || u, 'arena-' || n, 'old-' || n, 1, gen_random_uuid(), 'peer', 'old', now() - n * interval '1 day',
                    now() - n * interval '1 day', now() - n * interval '1 day', now() - n * interval '1 day'
             FROM generate_series(1, 100) AS u, generate_series(1, 1000) AS n",
        )
        .await;
    database.execute("VACUUM ANALYZE peers").await;
}

/// How many users [`add_dead_peers`] changes.
const DEAD_USERS: u32 = 10;

/// What presence costs where webhooks are on, with peers that ended only with their session.
pub(crate) async fn presence(server: &Server) {
    println!("\n# resume with webhooks on, against off");
    for dead in [1, 10_000] {
        let database = server.database().await;
        database.fill(USERS).await;
        add_dead_peers(&database, dead).await;
        let (off, on) = (
            Service::batched(&database.url),
            Service::with_webhooks(&database.url),
        );
        // It marks the dead peers meanwhile.
        let unmarked = "SELECT count(*) FROM peers WHERE connected_since IS NOT NULL AND NOT ended_with_session";
        while database.count(unmarked).await > 0 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        database.execute("VACUUM ANALYZE peers").await;
        for connections in [1, 64] {
            let (mut with, mut without) = (0.0, 0.0);
            for round in 0..12 {
                let on_first = round % 2 == 0;
                for is_on in [on_first, !on_first] {
                    let (service, rate) = if is_on {
                        (&on, &mut with)
                    } else {
                        (&off, &mut without)
                    };
                    *rate += resumes_of(service, connections, DEAD_USERS, MEASUREMENT / 10)
                        .await
                        .per_second
                        / 12.0;
                }
            }
            at_least(
                &format!("{dead} dead peers for each user, {connections} connections"),
                with,
                without,
                "/s",
                1.0 / 1.25,
            );
        }
        drop((off, on));
        database.remove().await;
    }
}

/// Adds so many peers that ended with their session, and have no state, to each of the first users.
async fn add_dead_peers(database: &Database, count: u32) {
    database
        .execute(&format!(
            "INSERT INTO peers (user_id, room_id, peer_id, version, snapshot_id, source, metadata_raw, joined_at,
                                first_observed_at, last_observed_at, connected_since, session_id)
             SELECT 'user-' || u, 'arena-' || n % 100, 'dead-' || n, 1, gen_random_uuid(), 'webhook', '', t.at, t.at, t.at,
                    t.at, 'session-' || n % 1000
             FROM generate_series(1, {DEAD_USERS}) AS u, generate_series(1, {count}) AS n,
                  LATERAL (SELECT now() - interval '1 hour' - n * interval '1 s' AS at) AS t;
             INSERT INTO session_ends (room_id, session_id, ended_at)
             SELECT DISTINCT room_id, session_id, now() - interval '1 hour' FROM peers WHERE connected_since IS NOT NULL"
        ))
        .await;
    database.execute("VACUUM ANALYZE peers").await;
}
