//! `rejoin forward`: lists the events that were never passed on, and has them sent again.

use std::str::FromStr;

use uuid::Uuid;

use super::{Exit, Failure, print_json, print_out, store};
use crate::config::DatabaseArgs;
use crate::domain::ForwardState;
use crate::http::forwards::ForwardJson;
use crate::store::Store;

const EXAMPLES: &str = "Examples:
  rejoin forward --list-dead
  rejoin forward --retry
  rejoin forward --retry 0190a5b2-6f1e-4c2a-9d37-52c8f0e4a911

Replicas of `rejoin serve` on the same database send the events. An event is printed as JSON, one per line with --list-dead.";

/// List events of 100ms that could not be passed on, or send them again
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// List the events that were given up, in the order in which they came
    #[arg(long, required_unless_present = "retry", conflicts_with = "retry")]
    list_dead: bool,
    /// Send all of these again, or one event now, whether it was given up or waits
    #[arg(long, value_name = "ID", num_args = 0..=1, default_missing_value = ALL)]
    retry: Option<Which>,
    #[command(flatten)]
    database: DatabaseArgs,
}

const PAGE: u16 = 500;
/// What stands for all dead events.
const ALL: &str = "all";

/// Which events are sent again.
#[derive(Debug, Clone, Copy)]
enum Which {
    AllDead,
    One(Uuid),
}

impl FromStr for Which {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        match text {
            ALL => Ok(Self::AllDead),
            id => id.parse().map(Self::One),
        }
    }
}

pub(super) async fn run(args: Args) -> Result<Exit, Failure> {
    let store = store(&args.database)?;
    match args.retry {
        None => list_dead(&store).await,
        Some(Which::One(id)) => match store.retry_forward(id).await? {
            Some(forward) => print_json(&ForwardJson::from(forward)),
            None => Err(Failure::new(
                Exit::NothingFound,
                "no event with this id is to be passed on",
            )),
        },
        Some(Which::AllDead) => {
            let retried = store.retry_dead_forwards().await?;
            print_out(&format!("{retried} events will be sent again"))?;
            Ok(Exit::Done)
        }
    }
}

async fn list_dead(store: &Store) -> Result<Exit, Failure> {
    let mut after = 0;
    loop {
        let dead = Some(ForwardState::Dead);
        let forwards = store.forwards(after, dead, PAGE).await?;
        let is_last = forwards.len() < usize::from(PAGE);
        for forward in forwards {
            after = forward.position;
            let line = serde_json::to_string(&ForwardJson::from(forward));
            print_out(&line.map_err(Failure::other)?)?;
        }
        if is_last {
            return Ok(Exit::Done);
        }
    }
}
