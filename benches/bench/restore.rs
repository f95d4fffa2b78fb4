//! Automatic restores: from the answer to a join webhook until the update arrives at 100ms, and how
//! many players who come back at once get their state in a second.

use std::time::Instant;

use super::database::Server;
use super::players::{Players, Upstream};
use super::report::{at_least, at_most};
use super::variant::Service;

/// Players who come back one after the other.
const ONE_BY_ONE: usize = 100;
/// Players who come back at once.
const AT_ONCE: usize = 1_000;

pub(crate) async fn latency_and_rate(server: &Server) {
    println!("\n# automatic restores of known states");
    let database = server.database().await;
    let upstream = Upstream::start().await;
    let service = Service::with_restores(&database.url, &upstream.url);
    let players = Players::new(&upstream, &service);

    players.play(0..ONE_BY_ONE + AT_ONCE).await;
    players.report_drops(0..ONE_BY_ONE + AT_ONCE).await;
    let mut times = Vec::new();
    for index in 0..ONE_BY_ONE {
        times.push(players.time_to_restore(index).await);
    }
    times.sort_unstable();
    at_most(
        "join answered to update arrived, p50",
        times[times.len() / 2].as_secs_f64() * 1e3,
        "ms",
        60.0,
    );

    let started = Instant::now();
    let waiting = ONE_BY_ONE..ONE_BY_ONE + AT_ONCE;
    players.come_back(waiting.clone()).await;
    println!(
        "      {AT_ONCE} joins answered after {:.2} s",
        started.elapsed().as_secs_f64()
    );
    for index in waiting {
        players.wait_for_state(index).await;
    }
    let per_second = AT_ONCE as f64 / started.elapsed().as_secs_f64();
    at_least("1,000 players at once", per_second, 300.0, "/s", 1.0);
    let micros = service.cpu_seconds() * 1e6 / (ONE_BY_ONE + AT_ONCE) as f64;
    println!("      {micros:.0} us of CPU in the service for each player");

    drop(service);
    upstream.stop().await;
    database.remove().await;
}
