//! `rejoin reconcile`: asks for what 100ms could not deliver, in the database. The work is the service's.

use std::time::Duration;

use tokio::time::sleep;

use super::{Exit, Failure, print_json, store};
use crate::config::DatabaseArgs;
use crate::domain::{Clock, ReconciliationState, Timestamp};
use crate::http::reconciliations::ReconciliationJson;

const EXAMPLES: &str = "Examples:
  rejoin reconcile --since 2026-03-01T10:00:00Z
  rejoin reconcile --since 2026-03-01T10:00:00Z --until 2026-03-01T11:00:00Z --no-wait

A replica of `rejoin serve` with webhooks on the same database does the work; this command waits for it, and prints what
came of it as JSON.";

/// Have 100ms send again what it could not deliver, and look at all active rooms
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// From when on; 100ms replays the last 30 days
    #[arg(long, value_name = "TIME")]
    since: Timestamp,
    /// Until when; until now where it is not given
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// Do not wait until it is done
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// How often the database is asked how far it is.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

pub(super) async fn run(args: Args) -> Result<Exit, Failure> {
    let end = args.until.unwrap_or_else(|| Clock::system().now());
    if args.since >= end {
        return Err(Failure::new(Exit::Usage, "--since is not before --until"));
    }
    let store = store(&args.database)?;
    let mut report = store
        .add_reconciliation(args.since, args.until, None)
        .await?;
    let mut state = None;
    while !args.no_wait && report.state != ReconciliationState::Finished {
        if state.replace(report.state) != Some(report.state) {
            eprintln!("{}", report.state.as_str());
        }
        sleep(POLL_INTERVAL).await;
        let known = store.reconciliation(report.id).await?;
        report = known.ok_or_else(|| Failure::other("somebody deleted the reconciliation"))?;
    }
    let problem = report
        .reconciled
        .and_then(|(_, reconciled)| reconciled.problem);
    print_json(&ReconciliationJson::from(report))?;
    Ok(problem.map_or(Exit::Done, |_| Exit::Upstream))
}
