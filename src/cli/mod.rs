//! The commands. Each file has one, its arguments and its `--help`.

#[cfg(feature = "demo")]
mod demo;
#[cfg(feature = "demo")]
mod embedded;
mod exit;
mod healthcheck;
mod history;
mod key;
mod progress;
mod resume;
mod serve;
#[cfg(feature = "demo")]
mod sim;
mod snapshot;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::{ConfigError, DatabaseArgs, variable};
use crate::domain::{Clock, Rules};
use crate::store::Store;
use crate::telemetry::{LogFormat, start_log};
pub use exit::{Exit, Failure};

/// Gives a player their state back: saves the metadata of 100ms peers in Postgres and returns it when the player rejoins.
#[derive(Parser, Debug)]
#[command(name = "rejoin", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[cfg(feature = "demo")]
const EXAMPLES: &str = "Examples:
  rejoin demo                                      see it work, with nothing else installed
  rejoin serve                                     the service; settings come from the environment
  rejoin snapshot --room 627cda81ab4f3b56a077dc33  save a whole room now";

#[cfg(not(feature = "demo"))]
const EXAMPLES: &str = "Examples:
  rejoin serve                                     the service; settings come from the environment
  rejoin snapshot --room 627cda81ab4f3b56a077dc33  save a whole room now";

#[derive(Subcommand, Debug)]
enum Command {
    Serve(Box<serve::Args>),
    Migrate(MigrateArgs),
    Snapshot(snapshot::Args),
    Resume(resume::Args),
    History(history::Args),
    Key(key::Args),
    #[cfg(feature = "demo")]
    #[command(after_help = sim::examples("rejoin sim"))]
    Sim(sim::Args),
    #[cfg(feature = "demo")]
    Demo(demo::Args),
    Openapi(OpenapiArgs),
    Healthcheck(healthcheck::Args),
    Completions(CompletionsArgs),
}

/// Bring the database's schema up to date
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  DATABASE_URL=postgres://rejoin@db/rejoin rejoin migrate")]
struct MigrateArgs {
    #[command(flatten)]
    database: DatabaseArgs,
}

/// Print the description of the HTTP API as OpenAPI
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  rejoin openapi > openapi.json")]
struct OpenapiArgs {}

/// Print a completion script for a shell
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Example:\n  rejoin completions bash > ~/.local/share/bash-completion/completions/rejoin"
)]
struct CompletionsArgs {
    /// Which shell
    shell: clap_complete::Shell,
}

/// Runs the program.
pub fn main() -> ExitCode {
    match check_variables()
        .map_err(Failure::from)
        .and_then(|()| start(Cli::parse().command))
    {
        Ok(exit) => exit.code(),
        Err(failure) => {
            eprintln!("error: {failure}");
            failure.exit().code()
        }
    }
}

/// Clap does not name the variable that is not text.
fn check_variables() -> Result<(), ConfigError> {
    let program = Cli::command();
    let arguments = program
        .get_subcommands()
        .flat_map(clap::Command::get_arguments);
    let mut names = arguments.filter_map(|argument| argument.get_env()?.to_str());
    names.try_for_each(|name| variable(name).map(drop))
}

fn start(command: Command) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::other)?;
    runtime.block_on(run(command))
}

async fn run(command: Command) -> Result<Exit, Failure> {
    start_log(LogFormat::from_env()?, log_level(&command))?;
    match command {
        Command::Serve(args) => serve::run(*args).await,
        Command::Migrate(args) => migrate(&args).await,
        Command::Snapshot(args) => snapshot::run(args).await,
        Command::Resume(args) => resume::run(args).await,
        Command::History(args) => history::run(args).await,
        Command::Key(args) => key::run(&args),
        #[cfg(feature = "demo")]
        Command::Sim(args) => sim::run(args).await,
        #[cfg(feature = "demo")]
        Command::Demo(args) => Box::pin(demo::run(args)).await,
        Command::Openapi(_) => print_out(&format!("{:#}", crate::http::openapi())),
        Command::Healthcheck(args) => healthcheck::run(args).await,
        Command::Completions(args) => {
            clap_complete::generate(
                args.shell,
                &mut Cli::command(),
                "rejoin",
                &mut std::io::stdout(),
            );
            Ok(Exit::Done)
        }
    }
}

/// The service says what it does; the other commands only what goes wrong.
fn log_level(command: &Command) -> &'static str {
    match command {
        Command::Serve(_) => "info",
        // The demo makes 100ms fail on purpose.
        #[cfg(feature = "demo")]
        Command::Demo(_) => "warn,rejoin::hms=error",
        _ => "warn",
    }
}

async fn migrate(args: &MigrateArgs) -> Result<Exit, Failure> {
    let store = store(&args.database)?;
    store.migrate().await.map_err(Failure::database)?;
    store.prepare_partitions(Clock::system().now()).await?;
    eprintln!("the schema is up to date");
    Ok(Exit::Done)
}

fn store(database: &DatabaseArgs) -> Result<Store, Failure> {
    Ok(crate::app::store(database.options()?, Rules::default()))
}

/// Prints a line. A reader that has gone is no failure.
fn print_out(text: &str) -> Result<Exit, Failure> {
    use std::io::Write;
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::other(error)),
        _ => Ok(Exit::Done),
    }
}

/// As [`print_out`], as JSON with indentation.
fn print_json(value: &impl serde::Serialize) -> Result<Exit, Failure> {
    print_out(&serde_json::to_string_pretty(value).map_err(Failure::other)?)
}
