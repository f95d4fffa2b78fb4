//! All that a scenario needs: a database, a simulated 100ms, and replicas of the app, over real
//! HTTP.

use std::time::Duration;

use hms_sim::{DropOptions, Join, LeaveAt, Operation, Sim, SimClock, SimConfig, WireMetadata};
use rejoin::app::{App, AppConfig};
use rejoin::config::{
    EventArgs, ForwardArgs, HistoryArgs, RestoreArgs, Upstream, WatchArgs, WebhookArgs,
};
use rejoin::domain::StoragePolicy;
use rejoin::hms::Credentials;
use rejoin::keys::KeyRing;
use rejoin::server::{self, ServerConfig};
use rejoin::store::StoreConfig;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::clock::ManualClock;
use super::postgres::{self, Database};
pub(crate) use super::replica::{Answer, Replica};

pub(crate) const ACCESS_KEY: &str = "test-access-key";
pub(crate) const SECRET: &str = "test-secret-of-a-sensible-length!";
pub(crate) const ROOM: &str = "627cda81ab4f3b56a077dc33";
/// How the replicas of a world are set up.
#[derive(Clone)]
pub(crate) struct Setup {
    /// API key entries; none lets everyone in.
    pub(crate) keys: String,
    /// The URL of the database, where it is not the world's own.
    pub(crate) database_url: Option<String>,
    /// The URL of 100ms without `/v2`, where it is not the world's own.
    pub(crate) upstream_url: Option<String>,
    pub(crate) timeout: Duration,
    pub(crate) storage_policy: StoragePolicy,
    pub(crate) store: StoreConfig,
    /// No secrets: webhooks are not taken.
    pub(crate) webhooks: WebhookArgs,
    pub(crate) restores: RestoreArgs,
    pub(crate) watches: WatchArgs,
    pub(crate) forwards: ForwardArgs,
    pub(crate) events: EventArgs,
    pub(crate) max_connections: usize,
    /// Whether the work runs that no request waits for. It does wherever states are restored.
    pub(crate) has_chores: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            keys: String::new(),
            database_url: None,
            upstream_url: None,
            timeout: Duration::from_secs(5),
            storage_policy: StoragePolicy {
                max_metadata_bytes: 262_144,
                store_names: true,
            },
            store: StoreConfig {
                save_workers: 2,
                resume_workers: 1,
                other_connections: 2,
                ..StoreConfig::default()
            },
            webhooks: WebhookArgs::default(),
            restores: RestoreArgs::default(),
            watches: WatchArgs::default(),
            forwards: ForwardArgs::default(),
            events: EventArgs::default(),
            max_connections: 10_000,
            has_chores: false,
        }
    }
}

impl Setup {
    /// Replicas that store metadata of so many bytes and no more.
    pub(crate) fn with_max_metadata_bytes(max_metadata_bytes: usize) -> Self {
        let usual = Self::default();
        Self {
            storage_policy: StoragePolicy {
                max_metadata_bytes,
                ..usual.storage_policy
            },
            ..usual
        }
    }

    /// Replicas whose database does not answer.
    pub(crate) fn without_database() -> Self {
        Self {
            database_url: Some("postgres://nobody@127.0.0.1:1/none".to_owned()),
            ..Self::default()
        }
    }
}

/// A database of its own, a simulated 100ms on a port of its own, and their common clock.
pub(crate) struct World {
    pub(crate) sim: Sim,
    pub(crate) clock: ManualClock,
    /// `http://127.0.0.1:PORT` of the simulator.
    pub(crate) sim_url: String,
    _stop: DropGuard,
    pub(crate) database: Database,
}

impl World {
    /// A world without replicas.
    pub(crate) async fn new() -> Self {
        let clock = ManualClock::new();
        let sim_clock = {
            let clock = clock.clone();
            SimClock::from_fn(move || clock.now())
        };
        let sim = Sim::new(SimConfig {
            clock: sim_clock,
            ..SimConfig::new(ACCESS_KEY, SECRET.into())
        });
        let (listener, sim_url) = listen().await;
        let stop = CancellationToken::new();
        tokio::spawn(hms_sim::serve(listener, sim.clone(), stop.clone()));
        Self {
            sim,
            clock,
            sim_url,
            _stop: stop.drop_guard(),
            database: postgres::database().await,
        }
    }

    /// A world with one replica of the usual set-up.
    pub(crate) async fn with_app() -> (Self, Replica) {
        let world = Self::new().await;
        let replica = world.replica(Setup::default()).await;
        (world, replica)
    }

    /// One more replica of the app.
    pub(crate) async fn replica(&self, setup: Setup) -> Replica {
        let database_url = setup.database_url.as_deref().unwrap_or(self.database.url());
        let upstream_url = setup.upstream_url.as_ref().unwrap_or(&self.sim_url);
        let webhooks = setup.webhooks.webhooks().expect("webhook settings");
        let restores = setup.restores.policy(&webhooks).expect("restore settings");
        let watches = setup.watches.watches().expect("watch settings");
        let own_events = setup.events.policy().expect("event settings");
        let forwards = setup.forwards.endpoint(&webhooks, own_events);
        let forwards = forwards.expect("forward settings");
        let forwarding = forwards.is_some();
        let app = App::build(AppConfig {
            database: database_url.parse().expect("a database URL"),
            store: StoreConfig {
                own_events,
                ..setup.store
            },
            upstream: Upstream {
                base_url: format!("{upstream_url}/v2").parse().expect("a URL"),
                credentials: Credentials::key(ACCESS_KEY, SECRET),
                timeout: setup.timeout,
            },
            storage_policy: setup.storage_policy,
            keys: KeyRing::parse(&setup.keys).expect("key entries"),
            restores,
            webhooks,
            watches,
            forwards,
            // Its clock is not that of Postgres.
            keep_peers: None,
            history: HistoryArgs::default().history().expect("the defaults"),
            clock: self.clock.clock(),
        })
        .expect("an app can be built");
        let (listener, base) = listen().await;
        let stop = CancellationToken::new();
        // Only where the scenario is about them: a short test can end while they open a connection,
        // and Postgres then waits for that one before it drops the database.
        if restores.is_some() || watches.every.is_some() || forwarding || setup.has_chores {
            drop(app.start_chores(stop.clone()));
        }
        let config = ServerConfig {
            app: app.router(),
            when_full: app.router_when_full(),
            max_connections: setup.max_connections,
        };
        tokio::spawn(server::serve(listener, config, stop.clone()));
        Replica::at(base).stopped_by(stop.drop_guard())
    }

    /// Lets a peer of a chosen id into [`ROOM`].
    pub(crate) fn join(&self, user: &str, peer: &str, metadata: &str) {
        self.join_as(join_of(user, peer, metadata));
    }

    /// Lets a peer of a chosen id into another room.
    pub(crate) fn join_in(&self, room: &str, user: &str, peer: &str, metadata: &str) {
        self.sim
            .join(room, join_of(user, peer, metadata))
            .expect("the peer can join");
    }

    /// Lets a peer of a chosen id into [`ROOM`], with metadata in any form of the wire.
    pub(crate) fn join_with(&self, user: &str, peer: &str, metadata: WireMetadata) {
        self.join_as(join_of(user, peer, "").with_metadata(metadata));
    }

    /// Lets a peer into [`ROOM`].
    pub(crate) fn join_as(&self, join: Join) {
        self.sim.join(ROOM, join).expect("the peer can join");
    }

    /// Sets a peer's metadata, a second later.
    pub(crate) fn set(&self, peer: &str, metadata: &str) {
        self.clock.advance(Duration::from_secs(1));
        self.sim
            .set_metadata(ROOM, peer, WireMetadata::text(metadata))
            .expect("the peer is there");
    }

    /// The metadata that a peer has at 100ms.
    pub(crate) fn metadata_of(&self, peer: &str) -> String {
        let peer = self.sim.peer(ROOM, peer).expect("the peer is there");
        let metadata = peer.metadata.as_raw().expect("it has metadata");
        serde_json::from_str(metadata.get()).expect("text")
    }

    /// The bodies of the requests to update a peer that 100ms got.
    pub(crate) fn updates(&self) -> Vec<Value> {
        let requests = self.sim.requests().into_iter();
        requests
            .filter(|request| request.operation == Some(Operation::Update))
            .map(|request| serde_json::from_str(&request.body.expect("a body")).expect("JSON"))
            .collect()
    }

    /// Cuts a peer's connection: 100ms lists its ghost, and reports the leave as it ends.
    pub(crate) fn drop_peer(&self, peer: &str) {
        self.sim
            .drop_peer(ROOM, peer, DropOptions::default())
            .expect("the peer is there");
    }

    /// Cuts a peer's connection; the leave is reported at this time.
    pub(crate) fn drop_peer_reported(&self, peer: &str, leave_at: LeaveAt) {
        let options = DropOptions {
            leave_at: Some(leave_at),
            ..DropOptions::default()
        };
        self.sim
            .drop_peer(ROOM, peer, options)
            .expect("the peer is there");
    }
}

/// A peer of a chosen id, everything else as by default.
pub(crate) fn join_of(user: &str, peer: &str, metadata: &str) -> Join {
    Join {
        peer_id: Some(peer.to_owned()),
        ..Join::of(user).with_metadata(WireMetadata::text(metadata))
    }
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let base = format!("http://{}", listener.local_addr().expect("it is bound"));
    (listener, base)
}
