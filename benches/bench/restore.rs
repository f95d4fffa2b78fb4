//! Automatic restores: from the answer to a join webhook until the update arrives at 100ms, and how
//! many players who come back at once get their state in a second.

use std::time::{Duration, Instant};

use chrono::{SecondsFormat, Utc};
use futures_util::{StreamExt, stream};
use hms_sim::{Join, Sim, SimConfig};
use tokio_util::sync::CancellationToken;

use super::database::Server;
use super::report::{at_least, at_most};
use super::variant::{SECRET, Service};

const ROOM: &str = "room";
/// Players who come back one after the other.
const ONE_BY_ONE: usize = 100;
/// Players who come back at once.
const AT_ONCE: usize = 1_000;
/// How many webhooks are sent at a time.
const CONNECTIONS: usize = 64;

pub(crate) async fn latency_and_rate(server: &Server) {
    println!("\n# automatic restores of known states");
    let database = server.database().await;
    let sim = Sim::new(SimConfig::new("key", "secret".into()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let upstream = listener.local_addr().expect("it is bound");
    let stop = CancellationToken::new();
    let simulator = tokio::spawn(hms_sim::serve(listener, sim.clone(), stop.clone()));
    let service = Service::with_restores(&database.url, &format!("http://{upstream}/v2"));
    let players = Players {
        sim,
        url: format!("http://{}/v1/webhooks/100ms", service.address),
        client: reqwest::Client::new(),
    };

    players.drop_all(0..ONE_BY_ONE + AT_ONCE).await;
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
    stop.cancel();
    simulator
        .await
        .expect("it does not panic")
        .expect("it serves");
    database.remove().await;
}

struct Players {
    sim: Sim,
    url: String,
    client: reqwest::Client,
}

impl Players {
    /// Each had a peer with a state, which dropped.
    async fn drop_all(&self, indices: std::ops::Range<usize>) {
        let sends = indices.map(async |index| {
            let old = format!("old-{index}");
            self.send(&event("join", index, &old, "")).await;
            self.send(&event("leave", index, &old, &state_of(index)))
                .await;
        });
        stream::iter(sends)
            .buffer_unordered(CONNECTIONS)
            .collect::<Vec<()>>()
            .await;
    }

    /// Each joins again with an empty peer.
    async fn come_back(&self, indices: std::ops::Range<usize>) {
        for index in indices.clone() {
            self.join(index);
        }
        let sends = indices.map(async |index| {
            let new = format!("new-{index}");
            self.send(&event("join", index, &new, "")).await;
        });
        stream::iter(sends)
            .buffer_unordered(CONNECTIONS)
            .collect::<Vec<()>>()
            .await;
    }

    async fn time_to_restore(&self, index: usize) -> Duration {
        self.join(index);
        self.send(&event("join", index, &format!("new-{index}"), ""))
            .await;
        let answered = Instant::now();
        self.wait_for_state(index).await;
        answered.elapsed()
    }

    fn join(&self, index: usize) {
        let join = Join {
            peer_id: Some(format!("new-{index}")),
            ..Join::of(&format!("user-{index}"))
        };
        self.sim.join(ROOM, join).expect("it joins");
    }

    async fn wait_for_state(&self, index: usize) {
        let expected = serde_json::to_string(&state_of(index)).expect("text is JSON");
        let started = Instant::now();
        loop {
            let peer = self.sim.peer(ROOM, &format!("new-{index}"));
            let metadata = peer.expect("it is there").metadata;
            if metadata.as_raw().is_some_and(|raw| raw.get() == expected) {
                return;
            }
            assert!(
                started.elapsed() < Duration::from_mins(1),
                "the state of player {index} does not come back"
            );
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
    }

    async fn send(&self, body: &str) {
        let answer = self
            .client
            .post(&self.url)
            .header("x-rejoin-secret", SECRET)
            .body(body.to_owned())
            .send()
            .await
            .expect("the service answers");
        assert!(answer.status().is_success(), "{}", answer.status());
    }
}

fn state_of(index: usize) -> String {
    format!("hp {index}")
}

fn event(kind: &str, index: usize, peer: &str, metadata: &str) -> String {
    let now = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
    let left = match kind {
        "leave" => format!(r#","left_at":"{now}","reason":"websocket closed""#),
        _ => String::new(),
    };
    format!(
        r#"{{"version":"2.0","id":"event","timestamp":"{now}","type":"peer.{kind}.success",
            "data":{{"room_id":"{ROOM}","session_id":"session","peer_id":"{peer}",
            "user_id":"user-{index}","user_name":"seven","role":"player",
            "user_data":"{metadata}","joined_at":"{now}"{left}}}}}"#
    )
}
