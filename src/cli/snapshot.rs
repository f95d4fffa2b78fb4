//! `rejoin snapshot`: the backend job. Straight to 100ms and the database; no server is needed.

use tokio::time::MissedTickBehavior;

use super::progress::Progress;
use super::{Exit, Failure, print_json, print_out};
use crate::app;
use crate::config::{DatabaseArgs, EventArgs, ForwardArgs, RulesArgs, StorageArgs, UpstreamArgs};
use crate::domain::{Clock, PeerId, RoomId, UserId, WatchInterval};
use crate::http::json::SnapshotJson;
use crate::server::stop_signal;
use crate::service::{RoomSnapshot, Service};
use crate::store::Saved;

const EXAMPLES: &str = "Examples:
  rejoin snapshot --room 627cda81ab4f3b56a077dc33
  rejoin snapshot --room 627cda81ab4f3b56a077dc33 --user player-7
  rejoin snapshot --room 627cda81ab4f3b56a077dc33 --every 30s
  rejoin snapshot --room 627cda81ab4f3b56a077dc33 --peer 1038fa72-9345-4651-beab-436f9242ebf4

Prints the snapshots as JSON, one per line for a room. With --every, it prints those that are new or changed, until
Ctrl-C or until the room was not active at three looks in a row.";

/// Fetch peers from 100ms now and save their metadata
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The room
    #[arg(long, value_name = "ROOM_ID")]
    room: RoomId,
    /// Only this peer, with its tracks
    #[arg(long, value_name = "PEER_ID", conflicts_with = "user")]
    peer: Option<PeerId>,
    /// Only the peers of this user
    #[arg(long, value_name = "USER_ID")]
    user: Option<UserId>,
    /// Again and again, from every 5s to every 1h
    #[arg(long, value_name = "DURATION", conflicts_with = "peer")]
    every: Option<WatchInterval>,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    upstream: UpstreamArgs,
    #[command(flatten)]
    storage: StorageArgs,
    #[command(flatten)]
    rules: RulesArgs,
    #[command(flatten)]
    events: EventArgs,
    #[command(flatten)]
    forwards: ForwardArgs,
}

pub(super) async fn run(args: Args) -> Result<Exit, Failure> {
    let (database, upstream, storage_policy, rules, own_events) = (
        args.database.options()?,
        args.upstream.upstream()?,
        args.storage.policy()?,
        args.rules.rules()?,
        args.events.policy()?,
    );
    // Servers pass them on. Where there is no endpoint, they would wait for ever.
    args.forwards.check_events(own_events)?;
    let store = app::store(database, rules.clone(), own_events);
    let service = app::service(store, upstream, storage_policy, rules, Clock::system())
        .map_err(Failure::other)?;
    let user = args.user.as_ref();
    match (&args.peer, args.every) {
        (Some(peer), _) => {
            let saved = service.snapshot_peer(&args.room, peer).await?;
            print_json(&SnapshotJson::from(saved.snapshot))
        }
        (None, Some(every)) => repeatedly(&service, &args.room, user, every).await,
        (None, None) => room(&service, &args.room, user, |_| true).await,
    }
}

/// How many looks in a row at a room that is not active end the command.
const MAX_INACTIVE: u32 = 3;

/// Takes snapshots of the room until somebody stops the command, or the room is not active any more.
async fn repeatedly(
    service: &Service,
    room_id: &RoomId,
    user: Option<&UserId>,
    every: WatchInterval,
) -> Result<Exit, Failure> {
    let stop = stop_signal().map_err(Failure::other)?;
    let mut regularly = tokio::time::interval(every.length());
    regularly.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut inactive = 0;
    while stop.run_until_cancelled(regularly.tick()).await.is_some() {
        // A snapshot that has begun is finished.
        match room(service, room_id, user, |saved| saved.changed).await {
            Ok(_) => inactive = 0,
            Err(failure) => {
                let is_inactive = failure.exit() == Exit::NothingFound;
                inactive = if is_inactive { inactive + 1 } else { 0 };
                if inactive == MAX_INACTIVE || failure.exit() == Exit::Database {
                    return Err(failure);
                }
                eprintln!("{failure}; trying again in {every}");
            }
        }
    }
    Ok(Exit::Done)
}

/// Takes a snapshot of the room, and prints those that are wanted.
async fn room(
    service: &Service,
    room: &RoomId,
    user: Option<&UserId>,
    is_wanted: fn(&Saved) -> bool,
) -> Result<Exit, Failure> {
    let progress = Progress::stderr();
    let taken = service
        .snapshot_room(room, user, None, |done, all| progress.show(done, all))
        .await;
    drop(progress);
    let RoomSnapshot { saved, skipped, .. } = taken?;
    let changed = saved.iter().filter(|saved| saved.changed).count();
    eprintln!(
        "{} peers saved, {changed} of them changed; {} skipped",
        saved.len(),
        skipped.len()
    );
    let found = !(saved.is_empty() && skipped.is_empty());
    for (peer, error) in skipped {
        eprintln!("skipped {}: {}", peer.escape_debug(), Failure::from(error));
    }
    for saved in saved.into_iter().filter(is_wanted) {
        print_out(
            &serde_json::to_string(&SnapshotJson::from(saved.snapshot)).map_err(Failure::other)?,
        )?;
    }
    Ok(if found {
        Exit::Done
    } else {
        Exit::NothingFound
    })
}
