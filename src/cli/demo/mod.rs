//! `rejoin demo`: Postgres, 100ms and rejoin on this machine, and a player who drops and gets their state back.
//!
//! `stage` runs the three; `story` is the order of the [`steps`] and of those in [`by_itself`], which `tale` helps to ask, tell and check; `page` and
//! `json` put it on an 80-column terminal; `farewell` says what to try next. All requests are real, over HTTP.

mod by_itself;
mod farewell;
mod json;
mod page;
mod stage;
mod steps;
mod story;
mod tale;

use tokio_util::sync::CancellationToken;

use self::page::Page;
use self::stage::Stage;
use self::tale::Tale;
use super::{Exit, Failure};
use crate::server;

const EXAMPLES: &str = "Examples:
  rejoin demo           tell the story, then stay up to be tried, until Ctrl-C
  rejoin demo --once    tell the story and end; exit code 0: all was as told

It brings its own database: a DATABASE_URL in the environment is left alone.
Colour is only for terminals, and not where NO_COLOR is set.";

/// See it work: a player drops, comes back, and gets their state back
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// End after the story; the exit code says whether all was as told
    #[arg(long)]
    once: bool,
}

pub(super) async fn run(args: Args) -> Result<Exit, Failure> {
    let stop = server::stop_signal().map_err(Failure::other)?;
    let page = Page::stdout();
    page.title("rejoin demo: a player drops, comes back, and gets their state back");
    page.text("Starting a Postgres in a temporary directory, a simulated 100ms, and rejoin ...");
    let stage = unless_stopped(&stop, Box::pin(Stage::start())).await?;
    let shown = show(&stage, &page, args.once, &stop).await;
    stage.stop().await;
    if shown.is_ok() {
        page.text("Everything is stopped and removed.");
    }
    shown.map(|()| Exit::Done)
}

async fn show(
    stage: &Stage,
    page: &Page,
    once: bool,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    stage.introduce(page);
    let mut tale = Tale::new(stage, page)?;
    let present = unless_stopped(stop, story::tell(&mut tale)).await?;
    page.title(&format!("All {} steps were as told.", tale.steps()));
    // With nobody left to read, there is nobody to stay up for.
    if !once && !page.unread() {
        farewell::say(stage, page, &present);
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
