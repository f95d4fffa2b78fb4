//! `rejoin demo`: Postgres, 100ms and rejoin on this machine, and a player who drops and gets their
//! state back.
//!
//! `environment` runs the three; `story` is the order of the [`steps`] and of those in
//! [`automatic`] and [`missed`]; `narrator` sends their requests and checks the answers; `page` and `json` show
//! them on an 80-column terminal; `next_steps` says what to try next. All requests are real, over
//! HTTP.

mod automatic;
mod environment;
mod json;
mod missed;
mod narrator;
mod next_steps;
mod page;
mod steps;
mod story;

use tokio_util::sync::CancellationToken;

use self::environment::Environment;
use self::narrator::Narrator;
use self::page::Page;
use super::{Exit, Failure};
use crate::server;

const EXAMPLES: &str = "Examples:
  rejoin demo           play the story, then stay up until Ctrl-C, so that you can try it
  rejoin demo --once    play the story and end; exit code 0: every check passed

It starts its own database, and ignores DATABASE_URL.
Colour is for terminals only, unless NO_COLOR is set.";

/// See it work: a player drops, comes back, and gets their state back
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// End after the story; the exit code says whether every check passed
    #[arg(long)]
    once: bool,
}

pub(super) async fn run(args: Args) -> Result<Exit, Failure> {
    let stop = server::stop_signal().map_err(Failure::other)?;
    let page = Page::stdout();
    page.title("rejoin demo: a player drops, comes back, and gets their state back");
    page.text("Starting a Postgres in a temporary directory, a simulated 100ms, and rejoin ...");
    let environment = unless_stopped(&stop, Box::pin(Environment::start())).await?;
    let shown = show(&environment, &page, args.once, &stop).await;
    environment.stop().await;
    if shown.is_ok() {
        page.text("Everything is stopped and removed.");
    }
    shown.map(|()| Exit::Done)
}

async fn show(
    environment: &Environment,
    page: &Page,
    once: bool,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    environment.introduce(page);
    let mut narrator = Narrator::new(environment, page)?;
    let ending = unless_stopped(stop, story::play(&mut narrator)).await?;
    page.title(&format!("All {} steps passed.", narrator.steps()));
    // Where nobody reads any more, nobody will try it.
    if !once && !page.is_closed() {
        next_steps::show(environment, page, &ending);
        stop.cancelled().await;
        page.text("");
    }
    Ok(())
}

async fn unless_stopped<T>(
    stop: &CancellationToken,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    stop.run_until_cancelled(work).await.unwrap_or_else(|| {
        Err(Failure::other(
            "stopped before the end of the story; everything is removed",
        ))
    })
}
