//! What the story runs on: a Postgres, a simulated 100ms, and rejoin. Takes the usual ports, or
//! free ones.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use axum::http::HeaderValue;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::page::Page;
use crate::app::{App, AppConfig};
use crate::cli::Failure;
use crate::config::{
    CompactionArgs, DatabaseArgs, HistoryArgs, RestoreArgs, StorageArgs, Upstream, WatchArgs,
    WebhookArgs,
};
use crate::domain::Clock;
use crate::hms::{Credentials, authorization};
use crate::keys::{KeyRing, new_key};
use crate::server::{self, ServerConfig};
use crate::store::StoreConfig;
use embedded_postgres::EmbeddedPostgres;
use hms_sim::{Sim, SimConfig, WebhookTarget, cli};

/// The usual address of rejoin.
const REJOIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// How many connections of clients may be open: one person plays.
const MAX_CONNECTIONS: usize = 1_000;
/// Where 100ms's webhooks go.
const WEBHOOKS: &str = "/v1/webhooks/100ms";

/// Everything that runs. Ends with the process in any case; [`Environment::stop`] ends it in order.
pub(super) struct Environment {
    postgres: EmbeddedPostgres,
    sim: Running,
    rejoin: Rejoin,
    key: String,
    hms_token: HeaderValue,
}

/// rejoin, which can be killed and started again.
struct Rejoin {
    config: AppConfig,
    address: SocketAddr,
    /// None while it is killed.
    running: Mutex<Option<(Threads, Running)>>,
}

/// Threads of their own. What runs on them ends with this, wherever it is.
struct Threads(Option<Runtime>);

/// A server in a task.
struct Running {
    address: SocketAddr,
    usual: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Environment {
    /// Starts all three.
    pub(super) async fn start() -> Result<Self, Failure> {
        // Its errors say what to do.
        let postgres = EmbeddedPostgres::start(None)
            .await
            .map_err(Failure::other)?;
        let simulated = Sim::new(SimConfig::new(
            cli::DEFAULT_ACCESS_KEY,
            cli::DEFAULT_SECRET.into(),
        ));
        let sim = start_sim(simulated.clone()).await.map_err(Failure::other)?;
        let secret = new_key("webhook", "admin").map_err(Failure::other)?.key;
        let webhooks = WebhookArgs::at(secret.clone().into()).webhooks()?;
        let key = new_key("demo", "admin").map_err(Failure::other)?;
        let credentials = Credentials::key(cli::DEFAULT_ACCESS_KEY, cli::DEFAULT_SECRET);
        let clock = Clock::system();
        let hms_token = authorization(&credentials, clock.clone())
            .ok_or_else(|| Failure::other("no management token could be made"))?;
        let base_url = Url::parse(&format!("http://{}/v2", sim.address)).map_err(Failure::other)?;
        let config = AppConfig {
            database: DatabaseArgs::at(postgres.url().into()).options()?,
            store: StoreConfig::default(),
            upstream: Upstream {
                base_url,
                credentials,
                timeout: Duration::from_secs(5),
            },
            storage_policy: StorageArgs::default().policy()?,
            keys: KeyRing::parse(&key.entry).map_err(Failure::other)?,
            restores: RestoreArgs::at("dropped").policy(&webhooks)?,
            webhooks,
            watches: WatchArgs::default().watches()?,
            forwards: None,
            keep_peers: CompactionArgs::default().keep_peers()?,
            history: HistoryArgs::default().history()?,
            clock,
        };
        let rejoin = Rejoin::start(config).await?;
        let url = format!("http://{}{WEBHOOKS}", rejoin.address);
        let target = WebhookTarget::new(&url, WebhookTarget::DEFAULT_HEADER, secret.into())
            .map_err(Failure::other)?;
        simulated.set_webhook_target(Some(target));
        Ok(Self {
            postgres,
            sim,
            rejoin,
            key: key.key,
            hms_token,
        })
    }

    /// Ends rejoin as if its process were killed: nothing that it does is finished.
    pub(super) async fn kill_rejoin(&self) {
        self.rejoin.running.lock().await.take();
    }

    /// Starts rejoin again, at the same address.
    pub(super) async fn start_rejoin(&self) -> Result<(), Failure> {
        self.rejoin.start_again().await
    }

    /// Stops all three, each before what it needs.
    pub(super) async fn stop(self) {
        self.rejoin.stop().await;
        self.sim.stop().await;
        self.postgres.stop().await;
    }

    /// Shows where they are.
    pub(super) fn introduce(&self, page: &Page) {
        page.text("");
        page.fact(
            "rejoin",
            &format!("{}{}", self.rejoin_url(), self.rejoin.elsewhere()),
        );
        page.fact(
            "100ms",
            &format!("{}, simulated{}", self.hms_url(), self.sim.elsewhere()),
        );
        page.fact("Postgres", &format!("in {}", self.postgres.dir().display()));
    }

    pub(super) fn rejoin_url(&self) -> String {
        format!("http://{}", self.rejoin.address)
    }

    pub(super) fn hms_url(&self) -> String {
        format!("http://{}", self.sim.address)
    }

    pub(super) fn database_url(&self) -> &str {
        self.postgres.url()
    }

    /// The API key, good for every call to rejoin.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// The `Authorization` that 100ms wants.
    pub(super) fn hms_token(&self) -> &HeaderValue {
        &self.hms_token
    }
}

impl Running {
    fn start<T: Future<Output = ()> + Send + 'static>(
        listener: TcpListener,
        usual: SocketAddr,
        serve: impl FnOnce(TcpListener, CancellationToken) -> T,
    ) -> io::Result<Self> {
        let (address, stop) = (listener.local_addr()?, CancellationToken::new());
        let task = tokio::spawn(serve(listener, stop.clone()));
        Ok(Self {
            address,
            usual,
            stop,
            task,
        })
    }

    async fn stop(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }

    fn elsewhere(&self) -> String {
        elsewhere(self.address, self.usual)
    }
}

fn elsewhere(address: SocketAddr, usual: SocketAddr) -> String {
    if address == usual {
        String::new()
    } else {
        format!(" ({} is taken)", usual.port())
    }
}

impl Rejoin {
    async fn start(config: AppConfig) -> Result<Self, Failure> {
        let listener = listen(REJOIN).await.map_err(Failure::other)?;
        let (threads, running) = Threads::run(config.clone(), listener).await?;
        Ok(Self {
            config,
            address: running.address,
            running: Mutex::new(Some((threads, running))),
        })
    }

    async fn start_again(&self) -> Result<(), Failure> {
        let start = Instant::now();
        // The one before may need a moment to end.
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(error) if start.elapsed() > Duration::from_secs(5) => {
                    return Err(Failure::other(error));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        let running = Threads::run(self.config.clone(), listener).await?;
        *self.running.lock().await = Some(running);
        Ok(())
    }

    async fn stop(self) {
        if let Some((_threads, running)) = self.running.into_inner() {
            running.stop().await;
        }
    }

    fn elsewhere(&self) -> String {
        elsewhere(self.address, REJOIN)
    }
}

impl Threads {
    /// Runs rejoin on threads of its own.
    async fn run(config: AppConfig, listener: TcpListener) -> Result<(Self, Running), Failure> {
        let listener = listener.into_std().map_err(Failure::other)?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(Failure::other)?;
        let handle = runtime.handle().clone();
        let threads = Self(Some(runtime));
        let start = move || handle.block_on(start_rejoin(config, listener));
        let started = tokio::task::spawn_blocking(start).await;
        let running = started.map_err(Failure::other)??;
        Ok((threads, running))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

async fn start_sim(sim: Sim) -> io::Result<Running> {
    let listener = listen(cli::DEFAULT_LISTEN).await?;
    Running::start(listener, cli::DEFAULT_LISTEN, async |listener, stop| {
        if let Err(error) = hms_sim::serve(listener, sim, stop).await {
            tracing::error!(%error, "the simulated 100ms has ended");
        }
    })
}

async fn start_rejoin(
    config: AppConfig,
    listener: std::net::TcpListener,
) -> Result<Running, Failure> {
    let app = App::build(config).map_err(Failure::other)?;
    app.migrate().await.map_err(Failure::database)?;
    let listener = TcpListener::from_std(listener).map_err(Failure::other)?;
    let serve = async move |listener, stop: CancellationToken| {
        let chores = app.start_chores(stop.clone());
        let config = ServerConfig {
            app: app.router(),
            when_full: app.router_when_full(),
            max_connections: MAX_CONNECTIONS,
        };
        server::serve(listener, config, stop).await;
        chores.wait().await;
    };
    Running::start(listener, REJOIN, serve).map_err(Failure::other)
}

/// Listens on the usual port, or on a free one where that is taken.
async fn listen(usual: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(usual).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind(SocketAddr::new(usual.ip(), 0)).await,
    }
}
