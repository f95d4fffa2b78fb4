//! Several replicas share the looks, and one of them dies.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use hms_sim::{Fault, FaultRule, Operation};
use rustix::process::Signal;

use crate::support::command::settings;
use crate::support::postgres;
use crate::support::program::{Program, Upstream};
use crate::support::world::join_of;

const ROOMS: usize = 200;
const EVERY: Duration = Duration::from_secs(10);

/// When each room was asked for, and which requests are in flight.
#[derive(Default)]
struct Looks {
    seen: u64,
    times: BTreeMap<String, Vec<Instant>>,
}

impl Looks {
    /// Reads what 100ms was asked since the last call. No room may be asked for by two requests at
    /// once, except for those that a dead replica has left.
    fn read(&mut self, upstream: &Upstream, left: &BTreeSet<u64>) {
        let mut in_flight: BTreeSet<String> = BTreeSet::new();
        for request in upstream.sim.requests() {
            if request.operation != Some(Operation::Peers) {
                continue;
            }
            if request.status.is_none() && !left.contains(&request.number) {
                let is_first = in_flight.insert(request.path.clone());
                assert!(is_first, "{} is looked at twice at once", request.path);
            }
            if request.number > self.seen {
                self.seen = request.number;
                self.times
                    .entry(request.path)
                    .or_default()
                    .push(Instant::now());
            }
        }
    }

    fn assert_all_in_time(&self, from: Instant) {
        assert_eq!(self.times.len(), ROOMS);
        let now = Instant::now();
        for (room, times) in &self.times {
            let times = [&[from], &times[..], &[now]].concat();
            for pair in times.windows(2) {
                let gap = pair[1] - pair[0];
                assert!(gap <= 2 * EVERY, "{room} was not looked at for {gap:?}");
            }
        }
    }
}

#[tokio::test]
async fn every_room_is_looked_at_in_time_and_none_twice_at_once_while_a_replica_dies() {
    let database = postgres::database().await;
    let upstream = Upstream::start().await;
    for room in 0..ROOMS {
        let join = join_of("player-7", &format!("p{room}"), "hp 71");
        upstream.sim.join(&format!("room-{room}"), join).unwrap();
    }
    // So that looks are in flight when a replica dies.
    upstream
        .sim
        .set_faults([FaultRule::always(Operation::Peers, Fault::DelayMs(100))]);
    let mut variables = settings(database.url(), &upstream);
    variables.extend([
        ("REJOIN_WATCH", "active"),
        ("REJOIN_WATCH_EVERY", "10s"),
        ("REJOIN_UPSTREAM_RATE", "60/s"),
        ("REJOIN_UPSTREAM_TIMEOUT", "30s"),
    ]);
    let mut dying = Program::start(&[], &variables).await;
    let survivor = Program::start(&[], &variables).await;
    let (start, mut looks, mut left) = (Instant::now(), Looks::default(), BTreeSet::new());
    let mut is_dead = false;
    while start.elapsed() < 4 * EVERY {
        looks.read(&upstream, &left);
        if !is_dead && start.elapsed() > EVERY + EVERY / 2 {
            dying.signal(Signal::KILL);
            dying.ended().await;
            is_dead = true;
            let unanswered = upstream
                .sim
                .requests()
                .into_iter()
                .filter(|request| request.status.is_none());
            left.extend(unanswered.map(|request| request.number));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(is_dead);
    looks.assert_all_in_time(start);
    drop(survivor);
}
