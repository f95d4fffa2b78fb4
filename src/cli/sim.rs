//! `rejoin sim`: the simulated 100ms, which is the crate `hms-sim`.

use hms_sim::cli::{self as sim, CommandError};

use super::{Exit, Failure};
use crate::server;

pub(super) use hms_sim::cli::{Args, examples};

pub(super) async fn run(args: Args) -> Result<Exit, Failure> {
    let shutdown = server::stop_signal().map_err(Failure::other)?;
    sim::run(args, shutdown).await?;
    Ok(Exit::Done)
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        let exit = match error {
            CommandError::Usage(_) => Exit::Usage,
            CommandError::Listen { .. } | CommandError::Io(_) => Exit::Other,
        };
        Self::new(exit, error.to_string())
    }
}
