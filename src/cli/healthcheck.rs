//! `rejoin healthcheck`: whether the service on this machine is ready, for container engines.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::{Exit, Failure};
use crate::config::ListenArgs;

/// Ask the service on this machine whether it is ready; exit code 0 says yes
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  REJOIN_LISTEN=0.0.0.0:8080 rejoin healthcheck")]
pub(super) struct Args {
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
    let answer = client
        .get(format!("http://{address}/health/ready"))
        .send()
        .await;
    match answer {
        Ok(answer) if answer.status().is_success() => Ok(Exit::Done),
        Ok(answer) => Err(Failure::other(format!(
            "the service on {address} is not ready ({})",
            answer.status()
        ))),
        Err(_) => Err(Failure::other(format!(
            "the service on {address} does not answer"
        ))),
    }
}
