//! The application, built in one place from its settings.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Upstream, WebhookConfig};
use crate::domain::Clock;
use crate::hms::{Client, ClientConfig};
use crate::http::{self, Api, WebhookApi};
use crate::keys::KeyRing;
use crate::service::{RestorePolicy, Service, StoragePolicy};
use crate::service::{RestoreScheduling, RestoreWorker, WebhookReceiver};
use crate::store::{Store, StoreConfig};
use crate::telemetry;

/// Everything that an application is built from.
#[derive(Debug, Clone)]
pub struct AppConfig {
    /// The database.
    pub database: PgConnectOptions,
    /// Lanes and connections.
    pub store: StoreConfig,
    /// 100ms.
    pub upstream: Upstream,
    /// What is kept.
    pub limits: StoragePolicy,
    /// Who may call.
    pub keys: KeyRing,
    /// Webhooks.
    pub webhooks: WebhookConfig,
    /// Which states are restored by themselves, if any.
    pub restores: Option<RestorePolicy>,
    /// The time.
    pub clock: Clock,
}

/// The application.
pub struct App {
    service: Service,
    router: Router,
    clock: Clock,
    restorer: Option<RestoreWorker>,
}

impl App {
    /// Builds the application. Connects to nothing yet.
    ///
    /// # Errors
    /// Where the client for 100ms cannot be set up.
    pub fn build(config: AppConfig) -> anyhow::Result<Self> {
        let metrics = telemetry::metrics();
        let clock = config.clock;
        let store = StoreConfig {
            presence: config.webhooks.secrets.is_some(),
            ..config.store
        };
        let timeout = config.upstream.timeout;
        let service = service(
            config.database,
            store,
            config.upstream,
            config.limits,
            clock.clone(),
        )?;
        let wake = Arc::new(Notify::new());
        let restorer = config
            .restores
            .map(|policy| RestoreWorker::new(service.clone(), policy, timeout, wake.clone()));
        let WebhookConfig {
            secrets,
            drop_reasons,
        } = config.webhooks;
        let webhooks = WebhookReceiver::new(
            service.store().clone(),
            clock.clone(),
            config.limits,
            drop_reasons,
        );
        let caused = config
            .restores
            .map(|RestorePolicy { window, .. }| RestoreScheduling { window, wake });
        let webhooks = webhooks.restoring(caused);
        let webhooks = secrets.map(|secrets| Arc::new(WebhookApi { secrets, webhooks }));
        let api = Api {
            service: service.clone(),
            keys: Arc::new(config.keys),
            metrics,
            webhooks,
        };
        Ok(Self {
            service,
            router: http::router(api),
            clock,
            restorer,
        })
    }

    /// The store, for migrations.
    pub fn store(&self) -> &Store {
        self.service.store()
    }

    /// The HTTP API.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// Starts what goes on beside requests, until `shutdown`: partitions for the months ahead, once a day, and restores that
    /// joins cause. Waiting for what is returned ends what has begun.
    pub fn start_chores(&self, shutdown: CancellationToken) -> TaskTracker {
        let chores = TaskTracker::new();
        if let Some(restorer) = &self.restorer {
            chores.spawn(restorer.clone().run(shutdown.clone()));
        }
        let (store, clock) = (self.store().clone(), self.clock.clone());
        chores.spawn(async move {
            let mut daily = tokio::time::interval(Duration::from_hours(24));
            while shutdown.run_until_cancelled(daily.tick()).await.is_some() {
                if let Err(error) = store.prepare_partitions(clock.now()).await {
                    tracing::warn!(%error, "no partitions were prepared; history goes to the default partition");
                }
            }
        });
        chores.close();
        chores
    }
}

/// The service alone, for commands that need no HTTP.
///
/// # Errors
/// Where the client for 100ms cannot be set up.
pub fn service(
    database: PgConnectOptions,
    store: StoreConfig,
    upstream: Upstream,
    limits: StoragePolicy,
    clock: Clock,
) -> anyhow::Result<Service> {
    let Upstream {
        base_url,
        credentials,
        timeout,
    } = upstream;
    let hms = Client::new(ClientConfig {
        timeout,
        clock: clock.clone(),
        ..ClientConfig::new(base_url, credentials)
    })?;
    Ok(Service::new(
        hms,
        Store::new(database, store),
        clock,
        limits,
    ))
}
