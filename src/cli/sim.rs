//! `rejoin sim`: the simulated 100ms, on an address of its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;

use super::{Exit, Failure, print_out};
use crate::server;
use hms_sim::{Sim, SimConfig, WebhookTarget};

/// The access key where none is given.
pub(super) const ACCESS_KEY: &str = "sim-access-key";
/// The secret where none is given.
pub(super) const SECRET: &str = "sim-secret-that-everybody-knows";
/// The address where none is given.
pub(super) const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8100);

const ABOUT: &str = "Run a simulated 100ms

Rooms, peers, ghosts and webhooks as 100ms has them, in memory. The REST API is under /v2 and wants management tokens, as \
100ms does. The control API under /control makes peers join, set metadata, drop and leave, and things go wrong; it asks \
for no key, so whoever reaches the address may use it: keep it on a loopback address or a private network.";

const EXAMPLES: &str = r#"Examples:
  rejoin sim
  rejoin sim --listen 127.0.0.1:8200 --ghost 5s
  rejoin sim --webhook-url http://127.0.0.1:9000/hook --webhook-secret hush

A peer joins, and sets its metadata:
  curl -X POST http://127.0.0.1:8100/control/rooms/arena/peers \
    -d '{"user_id": "ada", "peer_id": "p1"}'
  curl -X PUT http://127.0.0.1:8100/control/rooms/arena/peers/p1/metadata \
    -d '{"metadata": "{\"level\":4}"}'"#;

/// Run a simulated 100ms
#[derive(clap::Args, Debug)]
#[command(long_about = ABOUT, after_help = EXAMPLES)]
pub(super) struct Args {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value_t = LISTEN)]
    listen: SocketAddr,
    /// How long a dropped peer stays in its room
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    ghost: Duration,
    /// The access key that tokens must name [default: sim-access-key]
    #[arg(
        long,
        env = "HMS_ACCESS_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    access_key: Option<String>,
    /// The secret that tokens must be signed with [default: sim-secret-that-everybody-knows]
    #[arg(
        long,
        env = "HMS_SECRET",
        hide_env_values = true,
        value_name = "SECRET"
    )]
    secret: Option<SecretString>,
    /// Where webhooks go; none are sent without
    #[arg(long, value_name = "URL", requires = "webhook_secret")]
    webhook_url: Option<String>,
    /// The header that carries the webhooks' secret
    #[arg(long, value_name = "NAME", default_value = WebhookTarget::DEFAULT_HEADER)]
    webhook_header: String,
    /// The secret that webhooks carry
    #[arg(long, value_name = "SECRET", requires = "webhook_url")]
    webhook_secret: Option<SecretString>,
}

pub(super) async fn run(args: Args) -> Result<Exit, Failure> {
    let shutdown = server::stop_signal().map_err(Failure::other)?;
    // An empty variable counts as unset, as everywhere.
    let access_key = args
        .access_key
        .as_deref()
        .map(str::trim)
        .filter(|key| !key.is_empty())
        .unwrap_or(ACCESS_KEY);
    let given = args
        .secret
        .as_ref()
        .map(|secret| secret.expose_secret().trim())
        .filter(|secret| !secret.is_empty());
    let config = SimConfig {
        ghost: args.ghost,
        webhook: webhook(&args)?,
        ..SimConfig::new(access_key, given.unwrap_or(SECRET).into())
    };
    let listener = TcpListener::bind(args.listen).await.map_err(|error| {
        Failure::other(format!(
            "--listen should be an address that is free, but {}: {error}.",
            args.listen
        ))
    })?;
    let address = reachable(listener.local_addr().map_err(Failure::other)?);
    print_out(&format!(
        "The simulated 100ms is up; Ctrl-C stops it. Settings that point rejoin to it:\n\
         HMS_BASE_URL=http://{address}/v2\n\
         HMS_ACCESS_KEY={access_key}\n\
         HMS_SECRET={}\n\
         The control API, open to whoever reaches it: http://{address}/control",
        if given.is_some() {
            "(the one given)"
        } else {
            SECRET
        }
    ))?;
    hms_sim::serve(listener, Sim::new(config), shutdown)
        .await
        .map_err(Failure::other)?;
    Ok(Exit::Done)
}

fn webhook(args: &Args) -> Result<Option<WebhookTarget>, Failure> {
    let Some((url, secret)) = args.webhook_url.as_ref().zip(args.webhook_secret.clone()) else {
        return Ok(None);
    };
    WebhookTarget::new(url, &args.webhook_header, secret)
        .map(Some)
        .map_err(|error| {
            let what = "--webhook-url should be a URL and --webhook-header the name of a header";
            Failure::new(Exit::Usage, format!("{what}, but {error}."))
        })
}

/// The address as someone on this machine would call it.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
