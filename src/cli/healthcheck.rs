//! `rejoin healthcheck`: whether the service on this machine is live or ready, for container engines.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::{Exit, Failure};
use crate::config::ListenArgs;

/// Ask the service on this machine whether it is live; exit code 0 says yes
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  REJOIN_LISTEN=0.0.0.0:8080 rejoin healthcheck\n  rejoin healthcheck --ready"
)]
pub(super) struct Args {
    /// Ask whether it is ready instead: whether the database answers. Do not restart a service
    /// that is not: the database may be away for all of its replicas
    #[arg(long)]
    ready: bool,
    #[command(flatten)]
    listen: ListenArgs,
}

pub(super) async fn run(args: Args) -> Result<Exit, Failure> {
    let mut address: SocketAddr = args.listen.address()?;
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "the probe calls the service on this machine, and not 100ms"
    )]
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(3))
        .build()
        .map_err(Failure::other)?;
    let what = if args.ready { "ready" } else { "live" };
    let answer = client
        .get(format!("http://{address}/health/{what}"))
        .send()
        .await;
    match answer {
        Ok(answer) if answer.status().is_success() => Ok(Exit::Done),
        Ok(answer) => Err(Failure::other(format!(
            "the service on {address} is not {what} ({})",
            answer.status()
        ))),
        Err(error) => Err(Failure::other(format!(
            "the service on {address} does not answer: {}",
            root_cause(&error)
        ))),
    }
}

fn root_cause<'a>(mut error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    while let Some(cause) = error.source() {
        error = cause;
    }
    error
}
