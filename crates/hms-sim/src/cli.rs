//! The command that runs the simulator: its arguments and what it prints. `hms-sim` is this command
//! alone; other programs can have it among theirs.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{Sim, SimConfig, WebhookTarget};

/// The access key where none is given.
pub const DEFAULT_ACCESS_KEY: &str = "sim-access-key";
/// The secret where none is given.
pub const DEFAULT_SECRET: &str = "sim-secret-that-everybody-knows";
/// The address where none is given.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8100);

const ABOUT: &str = "Run a simulated 100ms

Rooms, peers, ghosts and webhooks as 100ms has them, in memory; the webhooks have a delivery history \
and can be replayed. The REST API is under /v2 and requires management tokens, as 100ms does. The control \
API under /control makes peers join, set metadata, drop and leave, makes calls fail and loses webhooks. \
It requires no key, so whoever reaches the address may use it: listen on a loopback address or in a \
private network.";

/// Run a simulated 100ms
#[derive(clap::Args, Debug)]
#[command(long_about = ABOUT)]
pub struct Args {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value_t = DEFAULT_LISTEN)]
    listen: SocketAddr,
    /// How long a dropped peer stays in its room as a ghost
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
    /// Where to send webhooks; without it none are sent
    #[arg(long, value_name = "URL", requires = "webhook_secret")]
    webhook_url: Option<String>,
    /// The header that carries the webhooks' secret
    #[arg(long, value_name = "NAME", default_value = WebhookTarget::DEFAULT_HEADER)]
    webhook_header: String,
    /// The secret that webhooks carry
    #[arg(long, value_name = "SECRET", requires = "webhook_url")]
    webhook_secret: Option<SecretString>,
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// An argument cannot be used.
    #[error("{0}.")]
    Usage(String),
    /// The address cannot be listened on.
    #[error("--listen should be an address that is free, but {address}: {source}.")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// The listener or the standard output failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The examples for `--help`, for a command of this name.
pub fn examples(command: &str) -> String {
    format!(
        r#"Examples:
  {command}
  {command} --listen 127.0.0.1:8200 --ghost 5s
  {command} --webhook-url http://127.0.0.1:9000/hook --webhook-secret hush

A peer joins, and sets its metadata:
  curl -X POST http://127.0.0.1:8100/control/rooms/arena/peers \
    -d '{{"user_id": "ada", "peer_id": "p1"}}'
  curl -X PUT http://127.0.0.1:8100/control/rooms/arena/peers/p1/metadata \
    -d '{{"metadata": "{{\"level\":4}}"}}'

Webhooks are lost, and delivered again from then on:
  curl -X PUT http://127.0.0.1:8100/control/webhooks/outage
  curl -X DELETE http://127.0.0.1:8100/control/webhooks/outage"#
    )
}

/// Runs the simulator until `shutdown`. Prints where it is, as settings that a client can use.
///
/// # Errors
/// [`CommandError`] says in one sentence what to do.
pub async fn run(args: Args, shutdown: CancellationToken) -> Result<(), CommandError> {
    // An empty variable counts as unset.
    let access_key = args
        .access_key
        .as_deref()
        .map(str::trim)
        .filter(|key| !key.is_empty())
        .unwrap_or(DEFAULT_ACCESS_KEY);
    let given_secret = args
        .secret
        .as_ref()
        .map(|secret| secret.expose_secret().trim())
        .filter(|secret| !secret.is_empty());
    let config = SimConfig {
        ghost: args.ghost,
        webhook: webhook_target(&args)?,
        ..SimConfig::new(access_key, given_secret.unwrap_or(DEFAULT_SECRET).into())
    };
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|source| CommandError::Listen {
            address: args.listen,
            source,
        })?;
    let address = reachable(listener.local_addr()?);
    let secret = if given_secret.is_some() {
        "(the one given)"
    } else {
        DEFAULT_SECRET
    };
    print(&format!(
        "The simulated 100ms is up, and Ctrl-C stops it. These settings point a client to it:\n\
         HMS_BASE_URL=http://{address}/v2\n\
         HMS_ACCESS_KEY={access_key}\n\
         HMS_SECRET={secret}\n\
         The control API, open to whoever reaches it: http://{address}/control"
    ))?;
    crate::serve(listener, Sim::new(config), shutdown).await?;
    Ok(())
}

fn webhook_target(args: &Args) -> Result<Option<WebhookTarget>, CommandError> {
    let Some((url, secret)) = args.webhook_url.as_ref().zip(args.webhook_secret.clone()) else {
        return Ok(None);
    };
    WebhookTarget::new(url, &args.webhook_header, secret)
        .map(Some)
        .map_err(|error| {
            let expected =
                "--webhook-url should be a URL and --webhook-header the name of a header";
            CommandError::Usage(format!("{expected}, but {error}"))
        })
}

/// The address as a program on this machine calls it.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// Prints a line. A reader that has gone is no failure.
fn print(line: &str) -> io::Result<()> {
    match writeln!(io::stdout().lock(), "{line}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}
