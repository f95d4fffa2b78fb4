//! A replica whose clock is wrong.

use crate::support::logs;
use crate::support::postgres;
use crate::support::program::{Program, Upstream};
use crate::support::wait::until;
use crate::support::world::{Replica, Setup, World};

/// The offset that the metrics have; none until it is measured.
async fn offset(app: &Replica) -> Option<f64> {
    let metrics = app.get("/metrics").await.expect(200).text;
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("rejoin_clock_offset_seconds "))?;
    let offset: f64 = line.parse().unwrap();
    (!offset.is_nan()).then_some(offset)
}

#[tokio::test]
async fn a_clock_that_differs_from_postgres_is_measured_and_logged() {
    logs::capture();
    let world = World::new().await;
    let setup = Setup {
        has_chores: true,
        ..Setup::default()
    };
    // The clock of a world is not the machine's.
    let app = world.replica(setup).await;
    until("the difference is logged", async || {
        let logged = logs::captured();
        logs::capture();
        logged.contains("the clock of this replica differs from Postgres's")
    })
    .await;
    let offset = offset(&app).await.expect("it was measured before");
    assert!(offset.abs() > 2.0, "{offset}");
    // Postgres would wait for a connection that is being opened, before it drops the database.
    let pool = world.database.pool().await;
    until(
        "the other work that begins at the start is done",
        async || {
            let table = "SELECT to_regclass('snapshots_2027_02')::text";
            let table: Option<String> = sqlx::query_scalar(table).fetch_one(&pool).await.unwrap();
            table.is_some()
        },
    )
    .await;
}

#[tokio::test]
async fn a_clock_that_is_right_is_measured() {
    let (upstream, database) = (Upstream::start().await, postgres::database().await);
    let program = Program::serve(database.url(), &upstream).await;
    let app = program.app();
    until("the clocks are compared", async || {
        offset(&app).await.is_some()
    })
    .await;
    let offset = offset(&app).await.unwrap();
    assert!(offset.abs() < 2.0, "{offset}");
    let (_, said) = program.stop().await;
    assert!(!said.contains("the clock of this replica"), "{said}");
}
