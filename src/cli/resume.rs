//! `rejoin resume`: what the resume endpoint would answer, from the database.

use super::{Exit, Failure, print_json};
use crate::app;
use crate::config::{DatabaseArgs, RulesArgs};
use crate::domain::{Clock, RoomId, UserId};
use crate::http::json::ResumeJson;
use crate::store::ResumeQuery;

const EXAMPLES: &str = "Example:
  rejoin resume player-7 --room 627cda81ab4f3b56a077dc33

Exit codes: 0 found, 2 a bad argument or setting, 3 nothing saved, 5 the database failed.";

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
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    rules: RulesArgs,
}

pub(super) async fn run(args: Args) -> Result<Exit, Failure> {
    let query = ResumeQuery {
        user_id: args.user,
        room_id: args.room,
        exclude_peer_id: None,
    };
    let rules = args.rules.rules()?;
    let store = app::store(args.database.options()?, rules.clone());
    match store.resume(query).await? {
        Some(state) if !rules.is_empty(&state.metadata) => {
            print_json(&ResumeJson::new(state, Clock::system().now()))
        }
        _ => Err(Failure::new(
            Exit::NothingFound,
            "no metadata is saved for this user",
        )),
    }
}
