//! The commands. Each file has one, its arguments and its `--help`.

#[cfg(feature = "demo")]
mod demo;
#[cfg(feature = "demo")]
mod embedded;
mod exit;
mod forward;
mod healthcheck;
mod history;
mod key;
mod progress;
mod reconcile;
mod resume;
mod serve;
#[cfg(feature = "demo")]
mod sim;
mod snapshot;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::{ConfigError, DatabaseArgs, PartitionArgs, variable};
use crate::domain::{Clock, Rules};
use crate::service::PartitionWorker;
use crate::store::{NOTICES, Store};
use crate::telemetry::{LogFormat, start_log, start_log_and_traces};
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
    Snapshot(Box<snapshot::Args>),
    Watch(watch::Args),
    Forward(forward::Args),
    Reconcile(reconcile::Args),
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
    Man(ManArgs),
}

/// Bring the database's schema up to date
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  DATABASE_URL=postgres://rejoin@db/rejoin rejoin migrate")]
struct MigrateArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    partitions: PartitionArgs,
    /// Distribute the tables over the nodes of a Citus cluster, by user; stop the service before
    #[arg(long)]
    distribute: bool,
    /// In how many parts each table is distributed; as many as Citus makes by default, if not given
    #[arg(long, value_name = "N", requires = "distribute", value_parser = clap::value_parser!(u16).range(1..=32_000))]
    shards: Option<u16>,
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

/// Write the man pages to a directory
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  rejoin man ~/.local/share/man/man1")]
struct ManArgs {
    /// The directory, which is made if it is missing
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    dir: std::path::PathBuf,
}

/// The commands, each with the exit codes that it can end with.
fn program() -> clap::Command {
    let with_codes = |command: clap::Command| {
        let examples = command.get_after_help().map(ToString::to_string);
        let codes = exit::codes_of(command.get_name());
        command.after_help(
            format!("{}\n\n{codes}", examples.unwrap_or_default())
                .trim()
                .to_owned(),
        )
    };
    let program = with_codes(Cli::command());
    let names: Vec<String> = program
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    names.into_iter().fold(program, |program, name| {
        program.mut_subcommand(name, with_codes)
    })
}

fn man(args: &ManArgs) -> Result<Exit, Failure> {
    std::fs::create_dir_all(&args.dir).map_err(Failure::other)?;
    clap_mangen::generate_to(program(), &args.dir).map_err(Failure::other)?;
    Ok(Exit::Done)
}

/// Runs the program.
pub fn main() -> ExitCode {
    match check_variables().map_err(Failure::from).and_then(|()| {
        let cli = Cli::from_arg_matches(&program().get_matches());
        start(cli.unwrap_or_else(|error| error.exit()).command)
    }) {
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
    let (format, level) = (LogFormat::from_env()?, log_level(&command));
    match command {
        Command::Serve(_) => start_log_and_traces(format, &level)?,
        _ => start_log(format, &level)?,
    }
    match command {
        Command::Serve(args) => serve::run(*args).await,
        Command::Migrate(args) => migrate(&args).await,
        Command::Snapshot(args) => snapshot::run(*args).await,
        Command::Watch(args) => watch::run(args).await,
        Command::Forward(args) => forward::run(args).await,
        Command::Reconcile(args) => reconcile::run(args).await,
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
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut program(), "rejoin", &mut script);
            print_out(String::from_utf8_lossy(&script).trim_end())
        }
        Command::Man(args) => man(&args),
    }
}

/// The service says what it does; the other commands only what goes wrong.
fn log_level(command: &Command) -> String {
    match command {
        // Postgres's notices are for whoever writes migrations.
        Command::Serve(_) => format!("info,{NOTICES}=warn"),
        // The demo makes 100ms fail on purpose.
        #[cfg(feature = "demo")]
        Command::Demo(_) => "warn,rejoin::hms=error".to_owned(),
        _ => "warn".to_owned(),
    }
}

async fn migrate(args: &MigrateArgs) -> Result<Exit, Failure> {
    let (store, period) = (store(&args.database)?, args.partitions.period()?);
    store.migrate().await.map_err(Failure::database)?;
    let partitions = PartitionWorker::new(store.clone(), Clock::system(), period, None);
    if !partitions.make().await? {
        eprintln!("history is in use for long: the service makes its partitions later");
    }
    if args.distribute {
        let distributed = store.distribute(args.shards).await;
        distributed.map_err(Failure::database)?;
        eprintln!("the tables are distributed");
    }
    eprintln!("the schema is up to date");
    Ok(Exit::Done)
}

fn store(database: &DatabaseArgs) -> Result<Store, Failure> {
    Ok(crate::app::store(
        database.options()?,
        Rules::default(),
        None,
    ))
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
