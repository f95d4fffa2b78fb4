//! The `embedded-postgres` command: runs a Postgres until Ctrl-C or SIGTERM.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use embedded_postgres::{Durability, EmbeddedError, EmbeddedPostgres, Options};
use tokio::signal::unix::{Signal, SignalKind, signal};

const EXAMPLES: &str = "Examples:
  embedded-postgres
  embedded-postgres --dir ./data
  embedded-postgres --no-durability --max-connections 300

Prints DATABASE_URL=... once Postgres answers. Uses the programs of an installed Postgres 14 or later
(PG_BIN names their directory), or downloads them.";

/// Run a Postgres until Ctrl-C or SIGTERM, and print its URL
#[derive(Parser, Debug)]
#[command(version, after_help = EXAMPLES)]
struct Args {
    /// Store the data in DIR; without it the data is temporary, and removed at the end
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// How many connections may be open at once
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..))]
    max_connections: u16,
    /// Be faster, and lose data when the machine crashes
    #[arg(long)]
    no_durability: bool,
}

/// What ends the command.
struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let mut stop_signals = match StopSignals::listen() {
        Ok(stop_signals) => stop_signals,
        Err(error) => return failure(&format!("cannot listen for signals: {error}")),
    };
    let started = tokio::select! {
        started = start(args) => started,
        () = stop_signals.received() => return failure("stopped before Postgres was up"),
    };
    let postgres = match started {
        Ok(postgres) => postgres,
        Err(error) => return failure(&error.to_string()),
    };
    // Nobody reads it where the output is closed; Postgres runs all the same.
    let _ = writeln!(
        io::stdout(),
        "Postgres is up, and Ctrl-C stops it. Its data, log and password are in {}\nDATABASE_URL={}",
        postgres.dir().display(),
        postgres.url(),
    );
    stop_signals.received().await;
    postgres.stop().await;
    ExitCode::SUCCESS
}

async fn start(args: Args) -> Result<EmbeddedPostgres, EmbeddedError> {
    let mut options = Options::default().max_connections(args.max_connections);
    if args.no_durability {
        options = options.durability(Durability::None);
    }
    if let Some(dir) = args.dir {
        options = options.dir(dir);
    }
    options.start().await
}

fn failure(message: &str) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::FAILURE
}
