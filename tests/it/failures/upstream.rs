//! 100ms goes away, hangs or fails: saved states are served all the same.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hms_sim::{Fault, FaultRule, Operation};

use super::{all_succeed, backends, every_call, with_application_name};
use crate::support::proxy::Proxy;
use crate::support::wait::until;
use crate::support::world::{Replica, Setup, World};

const TIMEOUT: Duration = Duration::from_millis(1_500);

async fn saved_is_served(app: &Replica) {
    assert_eq!(app.resumed_metadata("player-7").await, "saved");
    assert_eq!(
        app.history("player-7").await.expect(200).json()["snapshots"][0]["metadata_raw"],
        "saved"
    );
    app.get("/health/ready").await.expect(200);
}

/// Checks that both kinds of snapshot fail like this, and in time.
async fn snapshots_fail(app: &Replica, status: u16, code: &str) {
    let start = Instant::now();
    let (peer, room) = tokio::join!(app.snapshot("peer-1"), app.snapshot_room());
    for answer in [peer, room] {
        assert_eq!(answer.expect(status).code(), code);
    }
    assert!(
        start.elapsed() < TIMEOUT + Duration::from_secs(1),
        "{code}: {:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn cut_stalled_and_failing() {
    let world = World::new().await;
    let (mut proxy, upstream_url) = Proxy::before(&world.sim_url);
    let upstream_url = upstream_url.trim_end_matches('/').to_owned();
    let setup = Setup {
        upstream_url: Some(upstream_url),
        timeout: TIMEOUT,
        ..Setup::default()
    };
    let app = world.replica(setup).await;
    world.join("player-7", "peer-1", "saved");
    app.snapshot("peer-1").await.expect(201);

    proxy.cut().await;
    tokio::join!(
        snapshots_fail(&app, 502, "upstream-unavailable"),
        saved_is_served(&app)
    );
    proxy.heal();
    all_succeed(every_call(&app).await);

    proxy.stall();
    tokio::join!(
        snapshots_fail(&app, 504, "upstream-timeout"),
        saved_is_served(&app)
    );
    proxy.heal();
    all_succeed(every_call(&app).await);

    for (fault, status, code) in [
        (Fault::Status(500), 502, "upstream-unavailable"),
        (Fault::CutBody, 502, "upstream-unavailable"),
        (Fault::Garbage, 502, "upstream-bad-response"),
        (Fault::Hang, 504, "upstream-timeout"),
    ] {
        world
            .sim
            .set_faults([FaultRule::always(Operation::Any, fault)]);
        tokio::join!(snapshots_fail(&app, status, code), saved_is_served(&app));
    }
    world.sim.set_faults([]);
    all_succeed(every_call(&app).await);
}

#[tokio::test]
async fn no_connection_to_the_database_is_held_while_100ms_hangs() {
    let world = World::new().await;
    let database_url = Some(with_application_name(world.database.url()));
    let app = world
        .replica(Setup {
            database_url,
            timeout: Duration::from_secs(3),
            ..Setup::default()
        })
        .await;
    let pool = world.database.pool().await;
    world.join("player-7", "peer-1", "saved");
    app.snapshot("peer-1").await.expect(201);
    let open = backends(&pool, "true").await;
    let asked = world.sim.request_count();
    world
        .sim
        .set_faults([FaultRule::always(Operation::Any, Fault::Hang)]);

    let hanging = join_all((0..200).map(async |_| app.snapshot("peer-1").await.expect(504)));
    let meanwhile = async {
        until("the calls hang", async || {
            world.sim.request_count() - asked >= 64
        })
        .await;
        assert_eq!(backends(&pool, "true").await, open);
        assert_eq!(backends(&pool, "state <> 'idle'").await, 0);
        for _ in 0..50 {
            let start = Instant::now();
            assert_eq!(app.resumed_metadata("player-7").await, "saved");
            assert!(
                start.elapsed() < Duration::from_secs(1),
                "{:?}",
                start.elapsed()
            );
        }
        assert_eq!(
            world.sim.request_count() - asked,
            64,
            "the calls still hang, and no more than 64"
        );
    };
    tokio::join!(hanging, meanwhile);
    world.sim.set_faults([]);
    all_succeed(every_call(&app).await);
}
