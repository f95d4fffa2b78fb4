//! The `hms-sim` command: runs a simulated 100ms until Ctrl-C or SIGTERM.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use hms_sim::cli::{self, CommandError};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[derive(Parser, Debug)]
#[command(name = "hms-sim", version, after_help = cli::examples("hms-sim"))]
struct Command {
    #[command(flatten)]
    args: cli::Args,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Command { args } = Command::parse();
    let shutdown = match stop_signal() {
        Ok(shutdown) => shutdown,
        Err(error) => {
            eprintln!("error: cannot listen for signals: {error}");
            return ExitCode::FAILURE;
        }
    };
    match cli::run(args, shutdown).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(match error {
                CommandError::Usage(_) => 2,
                CommandError::Listen { .. } | CommandError::Io(_) => 1,
            })
        }
    }
}

/// A token that is cancelled at Ctrl-C or SIGTERM.
fn stop_signal() -> io::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        cancelled.cancel();
    });
    Ok(token)
}
