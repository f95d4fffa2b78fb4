//! The application and its parts, built from their settings. Every store and every client of 100ms
//! is made here.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use axum::Router;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{HistoryConfig, Upstream, WatchConfig, WebhookConfig};
use crate::domain::{Clock, EventPolicy, RestorePolicy, Rules, StoragePolicy};
use crate::forward::Endpoint;
use crate::hms::{Client, ClientConfig};
use crate::http::{self, Api, Routers, WebhookApi};
use crate::keys::KeyRing;
use crate::metrics::AnyMetric;
use crate::service::{
    CompactionWorker, ForwardScheduling, ForwardWorker, PartitionWorker, ReconcileWorker,
    RestoreScheduling, RestoreWorker, Service, WEBHOOKS_ENABLED, WatchScheduling, WatchWorker,
    WebhookReceiver,
};
use crate::store::{CLOCK_OFFSET_SECONDS, Store, StoreConfig, StoreError, UnavailableReason};
use crate::{forward, hms, server, service, store, telemetry};

/// How often the peers of ended sessions are looked for, whichever replica received the end.
const END_PEERS_INTERVAL: Duration = Duration::from_secs(5);

/// How often the clock is compared with Postgres's.
const CLOCK_INTERVAL: Duration = Duration::from_mins(1);
/// A greater difference is worth a warning.
const MAX_CLOCK_OFFSET: Duration = Duration::from_secs(2);

/// The metrics of all modules that have some.
const METRICS: &[&[&dyn AnyMetric]] = &[
    hms::METRICS,
    store::METRICS,
    service::METRICS,
    http::METRICS,
    server::METRICS,
];

/// Everything that an application is built from.
#[derive(Debug, Clone)]
pub struct AppConfig {
    /// The database.
    pub database: PgConnectOptions,
    /// Batch workers and connections, and the ordering rules.
    pub store: StoreConfig,
    /// 100ms.
    pub upstream: Upstream,
    /// What is stored of a peer.
    pub storage_policy: StoragePolicy,
    /// The API keys.
    pub keys: KeyRing,
    /// Webhooks.
    pub webhooks: WebhookConfig,
    /// Which states are restored automatically, if any.
    pub restores: Option<RestorePolicy>,
    /// Watches, and what the background may ask of 100ms.
    pub watches: WatchConfig,
    /// Where events are passed on to, if they are.
    pub forwards: Option<Endpoint>,
    /// For how long peers are kept that no answer needs any more; none for ever.
    pub keep_peers: Option<Duration>,
    /// The partitions of history, and for how long it is kept.
    pub history: HistoryConfig,
    /// The time.
    pub clock: Clock,
}

/// The application.
pub struct App {
    store: Store,
    /// Whether webhooks report it.
    presence: bool,
    clock: Clock,
    routers: Routers,
    restore_worker: Option<RestoreWorker>,
    watch_worker: WatchWorker,
    forward_worker: Option<ForwardWorker>,
    reconcile_worker: ReconcileWorker,
    compaction_worker: Option<CompactionWorker>,
    partition_worker: PartitionWorker,
}

impl App {
    /// Builds the application. Connects to nothing yet.
    ///
    /// # Errors
    /// When the client of 100ms cannot be set up.
    pub fn build(config: AppConfig) -> anyhow::Result<Self> {
        // First, so that nothing is counted before there is a recorder.
        let metrics = telemetry::metrics(METRICS);
        let store_config = StoreConfig {
            presence: config.webhooks.secrets.is_some(),
            clock: config.clock.clone(),
            ..config.store
        };
        let store = Store::new(config.database, &store_config);
        let rules = store_config.rules;
        let (clock, storage_policy) = (config.clock, config.storage_policy);
        let timeout = config.upstream.timeout;
        let hms = hms_client(config.upstream, storage_policy, clock.clone())?;
        let service = Service::new(
            hms,
            store.clone(),
            clock.clone(),
            storage_policy,
            rules.clone(),
        );
        let watches = WatchScheduling::new(config.watches.every);
        let service = service.with_watches(watches.clone());
        let background = service.paced(config.watches.rate);
        let WatchConfig {
            rate,
            presence_timeout,
            ..
        } = config.watches;
        let watch_worker = WatchWorker::new(&background, watches.clone(), rate, presence_timeout);
        let reconcile_worker = ReconcileWorker::new(&background);
        let compaction_worker = config
            .keep_peers
            .map(|keep_peers| CompactionWorker::new(store.clone(), keep_peers));
        let HistoryConfig { period, keep } = config.history;
        let partition_worker = PartitionWorker::new(store.clone(), clock.clone(), period, keep);
        let wake = Arc::new(Notify::new());
        let scheduling = config.restores.map(|policy| RestoreScheduling {
            window: policy.window,
            wake: wake.clone(),
        });
        let restore_worker = config
            .restores
            .map(|policy| RestoreWorker::new(&service, policy, timeout, wake));
        let secrets = config.webhooks.secrets;
        let forwards = secrets.as_ref().filter(|_| config.forwards.is_some());
        let forwards = forwards.map(|secrets| ForwardScheduling::new(secrets.header().clone()));
        let forward_worker = config.forwards.map(|endpoint| {
            let client = forward::Client::new(endpoint)?;
            let (store, clock) = (store.clone(), clock.clone());
            anyhow::Ok(ForwardWorker::new(store, client, clock))
        });
        let forward_worker = forward_worker.transpose()?;
        let drop_reasons = config.webhooks.drop_reasons;
        let webhooks = WebhookReceiver {
            store: store.clone(),
            clock: clock.clone(),
            storage_policy,
            rules,
            drop_reasons,
            restores: scheduling,
            watches,
            forwards,
        };
        if secrets.is_some() {
            WEBHOOKS_ENABLED.of(&()).set(1.0);
        }
        let routers = http::routers(Api {
            service,
            keys: Arc::new(config.keys),
            metrics,
            webhooks: secrets.map(|secrets| Arc::new(WebhookApi { secrets, webhooks })),
        });
        Ok(Self {
            store,
            presence: store_config.presence,
            clock,
            routers,
            restore_worker,
            watch_worker,
            forward_worker,
            reconcile_worker,
            compaction_worker,
            partition_worker,
        })
    }

    /// Logs which server the database is on.
    ///
    /// # Errors
    /// When the database cannot be used, or does not answer although it must.
    pub async fn check_database(&self, must_answer: bool) -> anyhow::Result<()> {
        match self.store.server().await {
            Ok(server) => {
                tracing::info!("{server}");
                server.check()
            }
            Err(StoreError::Unavailable(reason @ UnavailableReason::Pooler)) => bail!(reason),
            Err(error) if must_answer => bail!(error.with_sources().to_string()),
            Err(error) => {
                tracing::warn!(error = %error.with_sources(), "the database does not answer yet");
                Ok(())
            }
        }
    }

    /// Brings the schema of the database up to date.
    ///
    /// # Errors
    /// When the database does not answer, or a migration fails.
    pub async fn migrate(&self) -> anyhow::Result<()> {
        self.store.migrate().await
    }

    /// The HTTP API.
    pub fn router(&self) -> Router {
        self.routers.all.clone()
    }

    /// What is served to connections beyond the limit.
    pub fn router_when_full(&self) -> Router {
        self.routers.when_full.clone()
    }

    /// Starts the work that no request waits for, until `shutdown`: automatic restores, watches,
    /// forwards, reconciliations, the upkeep of the metrics, the marks of peers whose session ended,
    /// the comparison of clocks, and once a day compaction and the partitions of history.
    /// Wait for the returned tasks to finish what they have begun.
    pub fn start_chores(&self, shutdown: CancellationToken) -> TaskTracker {
        let chores = TaskTracker::new();
        if let Some(worker) = &self.restore_worker {
            chores.spawn(worker.clone().run(shutdown.clone()));
        }
        chores.spawn(self.watch_worker.clone().run(shutdown.clone()));
        if let Some(worker) = &self.forward_worker {
            chores.spawn(worker.clone().run(shutdown.clone()));
        }
        let upkeep = telemetry::keep_metrics_small(telemetry::metrics(METRICS), shutdown.clone());
        chores.spawn(upkeep);
        if self.presence {
            chores.spawn(self.reconcile_worker.clone().run(shutdown.clone()));
            chores.spawn(end_peers(self.store.clone(), shutdown.clone()));
        }
        if let Some(worker) = &self.compaction_worker {
            chores.spawn(worker.clone().run(shutdown.clone()));
        }
        chores.spawn(compare_clocks(
            self.store.clone(),
            self.clock.clone(),
            shutdown.clone(),
        ));
        chores.spawn(self.partition_worker.clone().run(shutdown));
        chores.close();
        chores
    }
}

/// Marks peers that ended with their session, when a session ends and regularly.
async fn end_peers(store: Store, shutdown: CancellationToken) {
    let mut regularly = tokio::time::interval(END_PEERS_INTERVAL);
    regularly.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let due = async || {
        tokio::select! {
            () = store.session_ended() => {}
            _ = regularly.tick() => {}
        }
    };
    let mut due = due;
    while shutdown.run_until_cancelled(due()).await.is_some() {
        match store.end_peers().await {
            Ok(0) => {}
            Ok(peers) => tracing::debug!(peers, "marked the peers of ended sessions"),
            Err(error @ StoreError::Refused(_)) => tracing::warn!(
                error = %error.with_sources(),
                "could not mark the peers of ended sessions; they are read with each resume meanwhile"
            ),
            // The database is away, which requests log.
            Err(_) => {}
        }
    }
}

/// Compares this clock with Postgres's: the order of observations depends on it.
async fn compare_clocks(store: Store, clock: Clock, shutdown: CancellationToken) {
    let mut regularly = tokio::time::interval(CLOCK_INTERVAL);
    while shutdown
        .run_until_cancelled(regularly.tick())
        .await
        .is_some()
    {
        // Where the database is away, requests log that.
        let Ok(offset) = store.compare_clock(&clock).await else {
            continue;
        };
        CLOCK_OFFSET_SECONDS.of(&()).set(offset.seconds);
        if offset.exceeds(MAX_CLOCK_OFFSET) {
            tracing::warn!(
                seconds = offset.seconds,
                "the clock of this replica differs from Postgres's; run NTP on both"
            );
        }
    }
}

/// The service alone, for a command that needs no HTTP.
///
/// # Errors
/// When the client of 100ms cannot be set up.
pub fn service(
    store: Store,
    upstream: Upstream,
    storage_policy: StoragePolicy,
    rules: Rules,
    clock: Clock,
) -> anyhow::Result<Service> {
    let hms = hms_client(upstream, storage_policy, clock.clone())?;
    Ok(Service::new(hms, store, clock, storage_policy, rules))
}

/// A store for one command, with few connections.
pub fn store(database: PgConnectOptions, rules: Rules, own_events: Option<EventPolicy>) -> Store {
    Store::new(
        database,
        &StoreConfig {
            save_workers: 2,
            resume_workers: 1,
            other_connections: 1,
            presence: true,
            rules,
            own_events,
            ..StoreConfig::default()
        },
    )
}

fn hms_client(
    upstream: Upstream,
    storage_policy: StoragePolicy,
    clock: Clock,
) -> anyhow::Result<Client> {
    let Upstream {
        base_url,
        credentials,
        timeout,
    } = upstream;
    let defaults = ClientConfig::new(base_url, credentials);
    // A byte of metadata takes up to six in JSON.
    let largest_peer = 6 * storage_policy.max_metadata_bytes + (1 << 20);
    Ok(Client::new(ClientConfig {
        timeout,
        clock,
        peer_body_limit: defaults.peer_body_limit.max(largest_peer),
        ..defaults
    })?)
}
