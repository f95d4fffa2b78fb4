//! `rejoin key`: API keys.

use super::{Exit, Failure, print_out};
use crate::keys;

/// Make API keys
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  rejoin key new --name game-server --scopes snapshot+resume")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Make a key: prints it once, and the line for the setting
    #[command(
        after_help = "Example:\n  rejoin key new --name game-server --scopes snapshot+resume"
    )]
    New {
        /// What the key is called in logs
        #[arg(long)]
        name: String,
        /// What it may be used for: snapshot, resume, history or admin (all), joined by '+'
        #[arg(long)]
        scopes: String,
    },
}

pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let Command::New { name, scopes } = &args.command;
    let new = keys::new_key(name, scopes)
        .map_err(|what| Failure::new(Exit::Usage, format!("{what}.")))?;
    eprintln!("The key, for whoever calls; it is shown this once:");
    print_out(&new.key)?;
    eprintln!("The line for REJOIN_API_KEYS or the file of REJOIN_API_KEYS_FILE:");
    print_out(&new.entry)
}
