//! `rejoin reconcile`: asks for what 100ms could not deliver, in the database. The work is the service's.

use std::time::Duration;

use tokio::time::sleep;

use super::progress::Progress;
use super::{Exit, Failure, print_json, store};
use crate::config::DatabaseArgs;
use crate::domain::{ReconciliationReport, ReconciliationState, Timestamp};
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
    let store = store(&args.database)?;
    let report = store.add_reconciliation(args.since, args.until, None);
    let backwards = || {
        Failure::new(
            Exit::Usage,
            "--since is not before --until, which is now by default",
        )
    };
    let mut report = report.await?.ok_or_else(backwards)?;
    let (progress, mut shown) = (Progress::stderr(), String::new());
    while !args.no_wait && report.state != ReconciliationState::Finished {
        let text = describe(&report);
        if text != shown {
            progress.line(&text);
            shown = text;
        }
        sleep(POLL_INTERVAL).await;
        let known = store.reconciliation(report.id).await?;
        report = known.ok_or_else(|| Failure::other("somebody deleted the reconciliation"))?;
    }
    drop(progress);
    let problem = report.reconciled.and_then(|reconciled| reconciled.problem);
    print_json(&ReconciliationJson::from(report))?;
    Ok(problem.map_or(Exit::Done, |_| Exit::Upstream))
}

/// How far it is, in a line.
fn describe(report: &ReconciliationReport) -> String {
    let state = report.state.as_str();
    let Some(reconciled) = report.reconciled else {
        return format!("{state} for a replica");
    };
    let again = match (reconciled.problem, report.next_attempt_at) {
        (Some(problem), Some(at)) => format!("; {}, tried again at {at}", problem.as_str()),
        _ => String::new(),
    };
    format!(
        "{state}: {} events sent again, {} rooms looked at, {} peers corrected{again}",
        reconciled.replayed, reconciled.rooms, reconciled.corrected
    )
}
