//! `rejoin watch`: begins, lists and ends watches, in the database. The looks are the service's.

use super::{Exit, Failure, print_json, print_out, store};
use crate::config::DatabaseArgs;
use crate::domain::{Clock, RoomId, Timestamp, Watch, WatchInterval};
use crate::http::watches::WatchJson;
use crate::store::{NewWatch, Store, WatchPage};

const EXAMPLES: &str = "Examples:
  rejoin watch 627cda81ab4f3b56a077dc33
  rejoin watch 627cda81ab4f3b56a077dc33 --every 10s --until 2026-03-01T22:00:00Z
  rejoin watch --list
  rejoin watch --stop 627cda81ab4f3b56a077dc33

Replicas of `rejoin serve` on the same database look at the rooms. A watch is printed as JSON, one per line with --list.";

/// Look at a room regularly, or list or end such watches
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The room to watch; a watch that there is already is changed
    #[arg(value_name = "ROOM_ID", required_unless_present_any = ["list", "stop"])]
    room: Option<RoomId>,
    /// How often to look at it, from 5s to 1h
    #[arg(long, value_name = "DURATION", default_value_t = WatchInterval::DEFAULT)]
    every: WatchInterval,
    /// When the watch ends; without it, when the room is not active any more
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// List the rooms that are watched, the latest look first
    #[arg(long, conflicts_with_all = ["room", "stop", "every", "until"])]
    list: bool,
    /// End the watch of this room
    #[arg(long, value_name = "ROOM_ID", conflicts_with_all = ["room", "every", "until"])]
    stop: Option<RoomId>,
    #[command(flatten)]
    database: DatabaseArgs,
}

const PAGE: u16 = 500;

pub(super) async fn run(args: Args) -> Result<Exit, Failure> {
    let store = store(&args.database)?;
    match (args.room, args.stop) {
        (Some(_), _)
            if args
                .until
                .is_some_and(|until| until <= Clock::system().now()) =>
        {
            Err(Failure::new(Exit::Usage, "--until is over already"))
        }
        (Some(room_id), _) => {
            let watch = NewWatch {
                room_id,
                every: args.every,
                until: args.until,
                requested_by: None,
            };
            let (watch, _) = store.put_watch(watch).await?;
            print_json(&WatchJson::from(watch))
        }
        (None, Some(room_id)) if store.delete_watch(&room_id).await? => Ok(Exit::Done),
        (None, Some(_)) => Err(Failure::new(Exit::NothingFound, "the room is not watched")),
        (None, None) => list(&store).await,
    }
}

async fn list(store: &Store) -> Result<Exit, Failure> {
    let mut after = None;
    loop {
        let watches = store.watches(WatchPage::ByLateness(after), PAGE).await?;
        let is_last = watches.len() < usize::from(PAGE);
        after = watches.last().map(position);
        for watch in watches {
            let line = serde_json::to_string(&WatchJson::from(watch));
            print_out(&line.map_err(Failure::other)?)?;
        }
        if is_last {
            return Ok(Exit::Done);
        }
    }
}

fn position(watch: &Watch) -> (Timestamp, String) {
    (watch.next_look_at, watch.room_id.to_string())
}
