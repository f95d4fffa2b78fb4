//! A whole world for a scenario: a database, a simulated 100ms, and replicas of the app, all over real HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use hms_sim::{Join, Sim, SimClock, SimConfig, WireMetadata};
use rejoin::app::{App, AppConfig};
use rejoin::config::{RestoreArgs, Upstream, WebhookArgs};
use rejoin::domain::Clock;
use rejoin::hms::Credentials;
use rejoin::keys::KeyRing;
use rejoin::server;
use rejoin::service::Limits;
use rejoin::store::StoreConfig;
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::postgres::{self, Database};

pub(crate) const ACCESS_KEY: &str = "test-access-key";
pub(crate) const SECRET: &str = "test-secret-of-a-sensible-length!";
pub(crate) const ROOM: &str = "627cda81ab4f3b56a077dc33";
/// When a [`ManualClock`] starts.
const START: &str = "2026-12-01T12:00:00Z";

/// A clock that stands still until it is told.
#[derive(Clone)]
pub(crate) struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    fn new() -> Self {
        let start: DateTime<Utc> = START.parse().expect("a time");
        Self(Arc::new(AtomicI64::new(start.timestamp_micros())))
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0.load(Ordering::SeqCst)).expect("within the calendar")
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.0.fetch_add(
            time.as_micros().try_into().expect("a short time"),
            Ordering::SeqCst,
        );
    }

    pub(crate) fn back(&self, time: TimeDelta) {
        self.0.fetch_sub(
            time.num_microseconds().expect("a short time"),
            Ordering::SeqCst,
        );
    }

    /// This clock for the app.
    pub(crate) fn clock(&self) -> Clock {
        let this = self.clone();
        Clock::from_fn(move || this.now().into())
    }
}

/// How the replicas of a world are set up.
#[derive(Clone)]
pub(crate) struct Setup {
    /// API key entries; none lets everyone in.
    pub(crate) keys: String,
    /// Another way to the database than straight.
    pub(crate) database_url: Option<String>,
    /// Another way to 100ms than straight, without `/v2`.
    pub(crate) upstream_url: Option<String>,
    pub(crate) timeout: Duration,
    pub(crate) limits: Limits,
    pub(crate) store: StoreConfig,
    /// No secrets: webhooks are not taken.
    pub(crate) webhooks: WebhookArgs,
    pub(crate) restores: RestoreArgs,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            keys: String::new(),
            database_url: None,
            upstream_url: None,
            timeout: Duration::from_secs(5),
            limits: Limits {
                max_metadata_bytes: 262_144,
                store_names: true,
            },
            store: StoreConfig {
                save_lanes: 2,
                resume_lanes: 1,
                other_connections: 2,
                ..StoreConfig::default()
            },
            webhooks: WebhookArgs::default(),
            restores: RestoreArgs::default(),
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
        let app = App::build(AppConfig {
            database: database_url.parse().expect("a database URL"),
            store: setup.store,
            upstream: Upstream {
                base_url: format!("{upstream_url}/v2").parse().expect("a URL"),
                credentials: Credentials::key(ACCESS_KEY, SECRET),
                timeout: setup.timeout,
            },
            limits: setup.limits,
            keys: KeyRing::parse(&setup.keys).expect("key entries"),
            restores,
            webhooks,
            clock: self.clock.clock(),
        })
        .expect("an app can be built");
        let (listener, base) = listen().await;
        let stop = CancellationToken::new();
        // Only where they are what the scenario is about: a connection that is being made while a short one ends would keep the
        // server from dropping its database until that gives it up.
        if restores.is_some() {
            drop(app.start_chores(stop.clone()));
        }
        tokio::spawn(server::serve(listener, app.router(), stop.clone()));
        Replica {
            _stop: Some(Arc::new(stop.drop_guard())),
            ..Replica::at(base)
        }
    }

    /// Lets a peer of a chosen id into [`ROOM`].
    pub(crate) fn join(&self, user: &str, peer: &str, metadata: &str) {
        self.join_as(Join {
            peer_id: Some(peer.to_owned()),
            ..Join::of(user).with_metadata(WireMetadata::text(metadata))
        });
    }

    /// Lets a peer into [`ROOM`].
    pub(crate) fn join_as(&self, join: Join) {
        self.sim.join(ROOM, join).expect("the peer can join");
    }

    /// Sets a peer's metadata, a second later.
    pub(crate) fn set(&self, peer: &str, metadata: &str) {
        self.clock.pass(Duration::from_secs(1));
        self.sim
            .set_metadata(ROOM, peer, WireMetadata::text(metadata))
            .expect("the peer is there");
    }
}

/// A running app, and a client that talks to it.
#[derive(Clone)]
pub(crate) struct Replica {
    /// `http://127.0.0.1:PORT`.
    pub(crate) base: String,
    key: Option<String>,
    client: reqwest::Client,
    _stop: Option<Arc<DropGuard>>,
}

impl Replica {
    /// One that is served elsewhere.
    pub(crate) fn at(base: String) -> Self {
        Self {
            base,
            key: None,
            client: client(),
            _stop: None,
        }
    }

    /// The same app, asked with an API key.
    pub(crate) fn with_key(&self, key: &str) -> Self {
        Self {
            key: Some(key.to_owned()),
            ..self.clone()
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        self.key.iter().fold(request, RequestBuilder::bearer_auth)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::to(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str) -> Answer {
        Answer::to(self.request(Method::POST, path)).await
    }

    /// Takes a snapshot of a peer in [`ROOM`].
    pub(crate) async fn snapshot(&self, peer: &str) -> Answer {
        self.post(&format!("/v1/rooms/{ROOM}/peers/{peer}/snapshots"))
            .await
    }

    /// Takes a snapshot of [`ROOM`].
    pub(crate) async fn snapshot_room(&self) -> Answer {
        self.post(&format!("/v1/rooms/{ROOM}/snapshots")).await
    }

    pub(crate) async fn resume(&self, user: &str) -> Answer {
        self.get(&format!("/v1/users/{user}/resume")).await
    }

    pub(crate) async fn history(&self, user: &str) -> Answer {
        self.get(&format!("/v1/users/{user}/snapshots")).await
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) async fn to(request: RequestBuilder) -> Self {
        let response = request.send().await.expect("the app answers");
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.expect("the answer is whole");
        Self {
            status,
            headers,
            text,
        }
    }

    /// The same, where its status is this one.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// A header as text; empty where there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("plain text"))
    }

    /// The problem code of a failure.
    #[track_caller]
    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

fn client() -> reqwest::Client {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none());
    client.build().expect("a client can be built")
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let base = format!("http://{}", listener.local_addr().expect("it is bound"));
    (listener, base)
}
