//! The service in a process of its own: batched, as it normally runs, or with a query for each
//! request.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use rejoin::app::{App, AppConfig};
use rejoin::config::{
    ForwardArgs, HistoryArgs, RestoreArgs, StorageArgs, UpstreamArgs, WatchArgs, WebhookArgs,
};
use rejoin::domain::Clock;
use rejoin::keys::KeyRing;
use rejoin::store::StoreConfig;
use rejoin::telemetry::{LogFormat, start_log};

const VARIANT: &str = "BENCH_SERVE";

/// The secret of webhooks.
pub(crate) const SECRET: &str = "a-secret-of-webhooks";

/// A running service. It is killed when this is dropped.
pub(crate) struct Service {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) key: String,
}

impl Service {
    /// The service as it normally runs.
    pub(crate) fn batched(database: &str) -> Self {
        Self::start(database, "batched", "http://127.0.0.1:9/v2")
    }

    /// The service with a query for each request, on as many connections as sqlx's pool has by
    /// default.
    pub(crate) fn query_per_request(database: &str) -> Self {
        Self::start(database, "single", "http://127.0.0.1:9/v2")
    }

    pub(crate) fn with_upstream(database: &str, upstream: &str) -> Self {
        Self::start(database, "batched", upstream)
    }

    /// The service with webhooks, authenticated by [`SECRET`].
    pub(crate) fn with_webhooks(database: &str) -> Self {
        Self::start(database, "webhooks", "http://127.0.0.1:9/v2")
    }

    /// The same, which passes events on to this endpoint.
    pub(crate) fn with_forwards(database: &str, endpoint: &str) -> Self {
        Self::start(database, "forwards", endpoint)
    }

    /// The same, of this 100ms.
    pub(crate) fn with_webhooks_of(database: &str, upstream: &str) -> Self {
        Self::start(database, "webhooks", upstream)
    }

    /// The service with webhooks, which restores the states of peers that dropped.
    pub(crate) fn with_restores(database: &str, upstream: &str) -> Self {
        Self::start(database, "restores", upstream)
    }

    fn start(database: &str, variant: &str, upstream: &str) -> Self {
        let key = rejoin::keys::new_key("bench", "admin").expect("a key");
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .env(VARIANT, variant)
            .env("BENCH_DATABASE", database)
            .env("BENCH_UPSTREAM", upstream)
            .env("BENCH_KEYS", &key.entry)
            .stdout(Stdio::piped())
            // The log is written as usual, and nobody reads it.
            .stderr(Stdio::null())
            .spawn()
            .expect("the service starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it is piped"))
            .read_line(&mut line)
            .expect("it prints its address");
        Self {
            child,
            address: line.trim().parse().expect("an address"),
            key: key.key,
        }
    }

    /// The CPU time it has used, in seconds: `utime` and `stime` of proc(5), in ticks of 10 ms.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        let (_, fields) = stat.rsplit_once(") ").expect("the name is in parentheses");
        fields
            .split(' ')
            .skip(11)
            .take(2)
            .filter_map(|ticks| ticks.parse::<f64>().ok())
            .sum::<f64>()
            / 100.0
    }

    /// Its peak resident memory, in MiB.
    pub(crate) fn peak_memory(&self) -> f64 {
        self.memory_of("VmHWM:")
    }

    /// Its resident memory, in MiB.
    pub(crate) fn memory(&self) -> f64 {
        self.memory_of("VmRSS:")
    }

    fn memory_of(&self, name: &str) -> f64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let kib = status.lines().find_map(|line| {
            let kib = line.strip_prefix(name)?.trim().strip_suffix(" kB")?;
            kib.trim().parse().ok()
        });
        kib.map_or(f64::NAN, |kib: f64| kib / 1024.0)
    }

    /// How many files it has open.
    pub(crate) fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .expect("it runs")
            .count()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn is_requested() -> bool {
    std::env::var_os(VARIANT).is_some()
}

/// Runs the service in the child process.
pub(crate) fn serve() {
    let var = |name: &str| std::env::var(name).expect("the parent sets it");
    let store = match var(VARIANT).as_str() {
        "batched" | "webhooks" | "restores" | "forwards" => StoreConfig::default(),
        _ => StoreConfig {
            resume_workers: 10,
            max_batch: 1,
            ..StoreConfig::default()
        },
    };
    let webhooks = match var(VARIANT).as_str() {
        "webhooks" | "restores" | "forwards" => WebhookArgs::at(SECRET.into()),
        _ => WebhookArgs::default(),
    };
    let webhooks = webhooks.webhooks().expect("they are complete");
    let restores = match var(VARIANT).as_str() {
        "restores" => RestoreArgs::at("dropped").policy(&webhooks),
        _ => Ok(None),
    };
    // These have no 100ms, and the endpoint in its place.
    let forwards = match var(VARIANT).as_str() {
        "forwards" => ForwardArgs::to(&var("BENCH_UPSTREAM")).endpoint(&webhooks, None),
        _ => Ok(None),
    };
    start_log(LogFormat::Text, "info").expect("a log");
    let upstream = UpstreamArgs::at(var("BENCH_UPSTREAM"), "key".to_owned(), "secret".into());
    let config = AppConfig {
        database: var("BENCH_DATABASE").parse().expect("a URL"),
        store,
        upstream: upstream.upstream().expect("it is complete"),
        storage_policy: StorageArgs::default()
            .policy()
            .expect("they are the defaults"),
        keys: KeyRing::parse(&var("BENCH_KEYS")).expect("a key"),
        webhooks,
        restores: restores.expect("they are complete"),
        watches: WatchArgs::default()
            .watches()
            .expect("they are the defaults"),
        forwards: forwards.expect("an endpoint"),
        keep_peers: None,
        history: HistoryArgs::default()
            .history()
            .expect("they are the defaults"),
        clock: Clock::system(),
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let app = App::build(config).expect("the application");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        println!("{}", listener.local_addr().expect("it is bound"));
        let stop = tokio_util::sync::CancellationToken::new();
        drop(app.start_chores(stop.clone()));
        let config = rejoin::server::ServerConfig {
            app: app.router(),
            when_full: app.router_when_full(),
            max_connections: 10_000,
        };
        rejoin::server::serve(listener, config, stop).await;
    });
}
