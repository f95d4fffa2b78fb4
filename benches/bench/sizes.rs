//! How large the tables get: players that join, play, drop and come back, as webhooks report.

use std::time::Instant;

use super::database::Server;
use super::players::{Players, Upstream};
use super::variant::Service;

/// How many players; each joins twice.
const PLAYERS: usize = 20_000;

pub(crate) async fn per_million_joins(server: &Server) {
    println!("\n# sizes per million joins, each with a leave and a state of a few bytes");
    let database = server.database().await;
    let upstream = Upstream::start().await;
    let service = Service::with_webhooks(&database.url);
    let players = Players::new(&upstream, &service);
    let started = Instant::now();
    players.play(0..PLAYERS).await;
    players.report_drops(0..PLAYERS).await;
    players.come_back(0..PLAYERS).await;
    players.report_leaves(0..PLAYERS).await;
    println!(
        "      {} events in {:.0} s",
        4 * PLAYERS,
        started.elapsed().as_secs_f64()
    );
    database.execute("VACUUM").await;
    let sizes = database
        .sizes(
            "SELECT relname::text, pg_relation_size(oid) FROM pg_class
                WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i')
                  AND pg_relation_size(oid) > 1000000
                ORDER BY relkind DESC, 2 DESC",
        )
        .await;
    let millions = 2.0 * PLAYERS as f64 / 1e6;
    for (name, bytes) in sizes {
        println!("      {:>7.0} MB  {name}", bytes as f64 / 1e6 / millions);
    }
    drop(service);
    upstream.stop().await;
    database.remove().await;
}
