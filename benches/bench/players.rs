//! A simulated 100ms, and players in one of its rooms whose events are reported to the service.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use chrono::{SecondsFormat, Utc};
use futures_util::{StreamExt, stream};
use hms_sim::{Join, Sim, SimConfig};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::variant::{SECRET, Service};

/// The room of all players.
pub(crate) const ROOM: &str = "room";
/// How many webhooks are sent at a time.
const CONNECTIONS: usize = 64;

/// A simulated 100ms.
pub(crate) struct Upstream {
    pub(crate) sim: Sim,
    pub(crate) address: SocketAddr,
    /// `http://127.0.0.1:PORT/v2`.
    pub(crate) url: String,
    stop: CancellationToken,
    served: JoinHandle<std::io::Result<()>>,
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let sim = Sim::new(SimConfig::new("key", "secret".into()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let stop = CancellationToken::new();
        let served = tokio::spawn(hms_sim::serve(listener, sim.clone(), stop.clone()));
        Self {
            sim,
            address,
            url: format!("http://{address}/v2"),
            stop,
            served,
        }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.served
            .await
            .expect("it does not panic")
            .expect("it serves");
    }
}

/// Players, by their numbers.
pub(crate) struct Players {
    sim: Sim,
    url: String,
    client: reqwest::Client,
}

impl Players {
    pub(crate) fn new(upstream: &Upstream, service: &Service) -> Self {
        Self {
            sim: upstream.sim.clone(),
            url: format!("http://{}/v1/webhooks/100ms", service.address),
            client: reqwest::Client::new(),
        }
    }

    /// Each has a peer with a state.
    pub(crate) async fn play(&self, indices: Range<usize>) {
        self.send_all(indices, |index| {
            event("join", index, &format!("old-{index}"), &state_of(index))
        })
        .await;
    }

    /// The drop of that peer of each is reported.
    pub(crate) async fn report_drops(&self, indices: Range<usize>) {
        self.send_all(indices, |index| {
            event("leave", index, &format!("old-{index}"), &state_of(index))
        })
        .await;
    }

    /// Each joins again with an empty peer.
    pub(crate) async fn come_back(&self, indices: Range<usize>) {
        for index in indices.clone() {
            self.join(index);
        }
        self.send_all(indices, |index| {
            event("join", index, &format!("new-{index}"), "")
        })
        .await;
    }

    /// The time from the answer to its join until its state is at 100ms.
    pub(crate) async fn time_to_restore(&self, index: usize) -> Duration {
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
            ..Join::of(&format!("player-{index}"))
        };
        self.sim.join(ROOM, join).expect("it joins");
    }

    pub(crate) async fn wait_for_state(&self, index: usize) {
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

    /// Each plays, drops, comes back, gets its state back, and leaves.
    pub(crate) async fn round(&self, indices: Range<usize>) {
        self.play(indices.clone()).await;
        self.report_drops(indices.clone()).await;
        self.come_back(indices.clone()).await;
        for index in indices.clone() {
            self.wait_for_state(index).await;
            let left = self.sim.leave(ROOM, &format!("new-{index}"));
            left.expect("it is there");
        }
        self.report_leaves(indices).await;
    }

    /// The leave of the peer that came back is reported.
    pub(crate) async fn report_leaves(&self, indices: Range<usize>) {
        self.send_all(indices, |index| {
            event("leave", index, &format!("new-{index}"), &state_of(index))
        })
        .await;
    }

    /// The answer to a resume of a player, whatever it is.
    pub(crate) async fn resume(&self, service: &Service, index: usize) -> Option<Value> {
        let url = format!("http://{}/v1/users/player-{index}/resume", service.address);
        let answer = self.client.get(url).bearer_auth(&service.key).send().await;
        answer.ok()?.error_for_status().ok()?.json().await.ok()
    }

    /// Checks that the state of a player is saved.
    pub(crate) async fn expect_state(&self, service: &Service, index: usize) {
        let state = self.resume(service, index).await.expect("a state is saved");
        assert_eq!(state["metadata_raw"], state_of(index), "player {index}");
    }

    /// Takes a snapshot of the room, if that succeeds.
    pub(crate) async fn snapshot_room(&self, service: &Service) {
        let url = format!("http://{}/v1/rooms/{ROOM}/snapshots", service.address);
        let answer = self.client.post(url).bearer_auth(&service.key).send().await;
        if let Ok(answer) = answer {
            let _ = answer.bytes().await;
        }
    }

    async fn send_all(&self, indices: Range<usize>, event: impl Fn(usize) -> String) {
        let sends = indices.map(async |index| self.send(&event(index)).await);
        stream::iter(sends)
            .buffer_unordered(CONNECTIONS)
            .collect::<Vec<()>>()
            .await;
    }

    /// Sends an event until it is taken, as 100ms does.
    async fn send(&self, body: &str) {
        let started = Instant::now();
        loop {
            let request = self
                .client
                .post(&self.url)
                .header("x-rejoin-secret", SECRET);
            let answer = request.body(body.to_owned()).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            assert!(
                started.elapsed() < Duration::from_mins(1),
                "an event is refused for a minute"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
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
            "user_id":"player-{index}","user_name":"seven","role":"player",
            "user_data":"{metadata}","joined_at":"{now}"{left}}}}}"#
    )
}
