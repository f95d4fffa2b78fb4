//! `rejoin serve`: the service.

use tokio::net::TcpListener;

use super::{Exit, Failure};
use crate::app::{App, AppConfig};
use crate::config::{
    CompactionArgs, DatabaseArgs, EventArgs, ForwardArgs, HistoryArgs, ListenArgs, RestoreArgs,
    RulesArgs, StorageArgs, UpstreamArgs, WatchArgs, WebhookArgs,
};
use crate::domain::Clock;
use crate::server::{self, ServerConfig};
use crate::store::StoreConfig;
use crate::telemetry::flush_traces;

#[cfg(feature = "demo")]
const EXAMPLES: &str = "Examples:
  DATABASE_URL=postgres://rejoin@localhost/rejoin HMS_ACCESS_KEY=... HMS_SECRET=... rejoin serve
  rejoin serve --embedded-postgres ./data --listen 127.0.0.1:9000

Every setting is also in .env.sample, with its default.";

#[cfg(not(feature = "demo"))]
const EXAMPLES: &str = "Example:
  DATABASE_URL=postgres://rejoin@localhost/rejoin HMS_ACCESS_KEY=... HMS_SECRET=... rejoin serve

Every setting is also in .env.sample, with its default.";

/// Run the service
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) database: DatabaseArgs,
    #[command(flatten)]
    pub(super) upstream: UpstreamArgs,
    #[command(flatten)]
    pub(super) storage: StorageArgs,
    #[command(flatten)]
    pub(super) webhooks: WebhookArgs,
    #[command(flatten)]
    pub(super) restores: RestoreArgs,
    #[command(flatten)]
    pub(super) watches: WatchArgs,
    #[command(flatten)]
    pub(super) forwards: ForwardArgs,
    #[command(flatten)]
    pub(super) events: EventArgs,
    #[command(flatten)]
    pub(super) rules: RulesArgs,
    #[command(flatten)]
    pub(super) compaction: CompactionArgs,
    #[command(flatten)]
    pub(super) history: HistoryArgs,
    #[command(flatten)]
    pub(super) listen: ListenArgs,
    /// Leave the schema as it is; `rejoin migrate` has been run
    #[arg(long)]
    no_migrate: bool,
    #[cfg(feature = "demo")]
    #[command(flatten)]
    embedded: super::embedded::EmbeddedArgs,
}

#[cfg_attr(
    not(feature = "demo"),
    expect(unused_mut, reason = "an embedded Postgres sets the database")
)]
pub(super) async fn run(mut args: Args) -> Result<Exit, Failure> {
    let shutdown = server::stop_signal().map_err(Failure::other)?;
    let (address, keys) = args.listen.listener()?;
    let max_connections = args.listen.max_connections()?;
    let (upstream, storage_policy, webhooks) = (
        args.upstream.upstream()?,
        args.storage.policy()?,
        args.webhooks.webhooks()?,
    );
    let restores = args.restores.policy(&webhooks)?;
    let watches = args.watches.watches()?;
    let own_events = args.events.policy()?;
    let forwards = args.forwards.endpoint(&webhooks, own_events)?;
    let keep_peers = args.compaction.keep_peers()?;
    let history = args.history.history()?;
    #[cfg(feature = "demo")]
    let postgres = args.embedded.start(&mut args.database).await?;
    let without_keys = keys.is_empty();
    let config = AppConfig {
        database: args.database.options()?,
        store: StoreConfig {
            rules: args.rules.rules()?,
            own_events,
            ..StoreConfig::default()
        },
        upstream,
        storage_policy,
        keys,
        webhooks,
        restores,
        watches,
        forwards,
        keep_peers,
        history,
        clock: Clock::system(),
    };
    let app = App::build(config).map_err(Failure::other)?;
    let migrates = !args.no_migrate;
    app.check_database(migrates)
        .await
        .map_err(Failure::database)?;
    if migrates {
        app.migrate().await.map_err(Failure::database)?;
    }
    let listener = TcpListener::bind(address).await.map_err(|error| {
        Failure::other(format!(
            "REJOIN_LISTEN should be an address that is free, but {address}: {error}."
        ))
    })?;
    let chores = app.start_chores(shutdown.clone());
    if without_keys {
        tracing::warn!(
            "no API keys are set: whoever reaches this loopback address may call everything"
        );
    }
    server::allow_connections(max_connections);
    let bound = listener.local_addr().map_err(Failure::other)?;
    tracing::info!("listening on http://{bound}");
    let config = ServerConfig {
        app: app.router(),
        when_full: app.router_when_full(),
        max_connections,
    };
    server::serve(listener, config, shutdown).await;
    chores.wait().await;
    #[cfg(feature = "demo")]
    if let Some(postgres) = postgres {
        postgres.stop().await;
    }
    flush_traces().await;
    tracing::info!("stopped");
    Ok(Exit::Done)
}
