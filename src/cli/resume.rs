//! `rejoin resume`: what the resume endpoint would answer, from the database.

use std::time::Duration;

use super::{Exit, Failure, print_json};
use crate::app;
use crate::config::{DatabaseArgs, RulesArgs};
use crate::domain::{Clock, PeerId, RoomId, UserId};
use crate::http::json::ResumeJson;
use crate::store::ResumeQuery;

const EXAMPLES: &str = "Examples:
  rejoin resume player-7 --room 627cda81ab4f3b56a077dc33
  rejoin resume player-7 --only dropped --max-age 600";

/// Print the saved state of a user
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The user
    #[arg(value_name = "USER_ID")]
    user: UserId,
    /// Only of peers in this room
    #[arg(long, value_name = "ROOM_ID")]
    room: Option<RoomId>,
    /// Not of this peer
    #[arg(long, value_name = "PEER_ID")]
    exclude_peer: Option<PeerId>,
    /// Only if the peer was last observed with it at most this many seconds ago
    #[arg(long, value_name = "SECONDS")]
    max_age: Option<u64>,
    /// Only if the peer of the saved state has this presence
    #[arg(long, value_enum)]
    only: Option<Only>,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    rules: RulesArgs,
}

#[derive(clap::ValueEnum, Debug, Clone, Copy)]
enum Only {
    /// Its connection was lost
    Dropped,
}

pub(super) async fn run(args: Args) -> Result<Exit, Failure> {
    let query = ResumeQuery {
        user_id: args.user,
        room_id: args.room,
        exclude_peer_id: args.exclude_peer,
    };
    let rules = args.rules.rules()?;
    let store = app::store(args.database.options()?, rules.clone(), None);
    let not_found = |message| Err(Failure::new(Exit::NothingFound, message));
    let state = match store.resume(query).await? {
        Some(state) if !rules.is_empty(&state.metadata) => state,
        _ => return not_found("no metadata is saved for this user"),
    };
    let now = Clock::system().now();
    let age = now.since(state.last_observed_at);
    let resume = ResumeJson::new(state, now);
    if args
        .max_age
        .is_some_and(|max| age > Duration::from_secs(max))
    {
        return not_found("the saved metadata is older than --max-age");
    }
    if args.only.is_some() && !resume.is_dropped() {
        return not_found("the peer of the saved state did not drop");
    }
    print_json(&resume)
}
