//! `rejoin snapshot`: the backend job. Straight to 100ms and the database; no server is needed.

use super::progress::Progress;
use super::{Exit, Failure, print_json, print_out};
use crate::app;
use crate::config::{DatabaseArgs, RulesArgs, StorageArgs, UpstreamArgs};
use crate::domain::{Clock, PeerId, RoomId, UserId};
use crate::http::json::SnapshotJson;
use crate::service::{RoomSnapshot, Service};

const EXAMPLES: &str = "Examples:
  rejoin snapshot --room 627cda81ab4f3b56a077dc33
  rejoin snapshot --room 627cda81ab4f3b56a077dc33 --user player-7
  rejoin snapshot --room 627cda81ab4f3b56a077dc33 --peer 1038fa72-9345-4651-beab-436f9242ebf4

Prints the snapshots as JSON, one per line for a room.";

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
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    upstream: UpstreamArgs,
    #[command(flatten)]
    storage: StorageArgs,
    #[command(flatten)]
    rules: RulesArgs,
}

pub(super) async fn run(args: Args) -> Result<Exit, Failure> {
    let (database, upstream, storage_policy, rules) = (
        args.database.options()?,
        args.upstream.upstream()?,
        args.storage.policy()?,
        args.rules.rules()?,
    );
    let service = app::service(database, upstream, storage_policy, rules, Clock::system())
        .map_err(Failure::other)?;
    match &args.peer {
        Some(peer) => {
            let saved = service.snapshot_peer(&args.room, peer).await?;
            print_json(&SnapshotJson::from(saved.snapshot))
        }
        None => room(&service, &args.room, args.user.as_ref()).await,
    }
}

async fn room(service: &Service, room: &RoomId, user: Option<&UserId>) -> Result<Exit, Failure> {
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
    for saved in saved {
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
