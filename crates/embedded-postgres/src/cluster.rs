//! Makes the data and starts Postgres on it: `initdb` once, then `postgres`, then the database
//! `rejoin`.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use sqlx::{ConnectOptions, Connection, PgConnection};

use super::binaries::Binaries;
use super::home::Home;
use super::supervisor::{StopPolicy, Supervisor};
use super::{Durability, EmbeddedError, Options};

/// How long Postgres may take until it answers: after a crash it may have much to recover.
const START_TIMEOUT: Duration = Duration::from_mins(2);

/// How often a start is tried: another process may take the free port first, or the last remains of
/// a killed Postgres may still hold the data for a moment.
const ATTEMPTS: u32 = 5;

/// Makes the data directory unless there is one.
pub(super) async fn create(home: &Home, binaries: &Binaries) -> Result<(), EmbeddedError> {
    if home.major().is_some() {
        return Ok(());
    }
    home.new_password()?;
    match initdb(home, binaries, "C.UTF-8").await {
        // Not every system has that locale.
        Err(EmbeddedError::Failed { tail, .. }) if tail.contains("locale") => {
            initdb(home, binaries, "C").await
        }
        done => done,
    }
}

/// Runs `initdb` beside the final directory, so that an interrupted one leaves nothing that looks
/// like data.
async fn initdb(home: &Home, binaries: &Binaries, locale: &str) -> Result<(), EmbeddedError> {
    let unfinished = home.path().join("data.new");
    fresh_directory(home, &unfinished).map_err(EmbeddedError::io("create", &unfinished))?;
    let mut command = Command::new(binaries.program("initdb"));
    command
        .arg("-D")
        .arg(&unfinished)
        .arg("--pwfile")
        .arg(home.password_file());
    command.args([
        "-U",
        "postgres",
        "-A",
        "scram-sha-256",
        "-E",
        "UTF8",
        "--locale",
        locale,
    ]);
    if home.is_temporary() {
        command.arg("--no-sync");
    }
    let mut supervisor = start(&command, home)?;
    let status = loop {
        match exited(&mut supervisor)? {
            Some(status) => break status,
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    if !status.success() {
        return Err(EmbeddedError::Failed {
            program: "initdb",
            tail: home.log_tail(),
        });
    }
    fs::rename(&unfinished, home.data()).map_err(EmbeddedError::io("rename", &unfinished))
}

fn fresh_directory(home: &Home, dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => fs::create_dir(dir)?,
    }
    home.account().give(dir)
}

/// Starts Postgres on a free port of the loopback interface; returns the URL of its database
/// `rejoin`.
pub(super) async fn run(
    home: &Home,
    binaries: &Binaries,
    options: &Options,
) -> Result<(Supervisor, String), EmbeddedError> {
    let password = home.password()?;
    let mut attempt = 1;
    loop {
        let port = free_port().map_err(|source| EmbeddedError::Io {
            doing: "find a free port".into(),
            source,
        })?;
        let url = |database| {
            format!("postgres://postgres:{password}@127.0.0.1:{port}/{database}?sslmode=disable")
        };
        let mut supervisor = start(&postgres(home, binaries, options, port), home)?;
        match ready(&mut supervisor, home, &url("postgres")).await {
            Ok(()) => return Ok((supervisor, url("rejoin"))),
            Err(EmbeddedError::Failed { tail, .. })
                if attempt < ATTEMPTS && is_transient(&tail) =>
            {
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
        drop(supervisor);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn postgres(home: &Home, binaries: &Binaries, options: &Options, port: u16) -> Command {
    let mut command = Command::new(binaries.program("postgres"));
    command
        .arg("-D")
        .arg(home.data())
        .arg("-p")
        .arg(port.to_string());
    let mut set = |setting: &str| {
        command.args(["-c", setting]);
    };
    set("listen_addresses=127.0.0.1");
    set("unix_socket_directories=");
    set(&format!("max_connections={}", options.max_connections));
    // The log is one file that only a start empties. Terse leaves out the rows that failed.
    set("logging_collector=off");
    set("log_checkpoints=off");
    set("log_error_verbosity=terse");
    if options.durability == Durability::None {
        [
            "fsync=off",
            "synchronous_commit=off",
            "full_page_writes=off",
            // Whoever drops a database waits for clients that are gone halfway through a login.
            "authentication_timeout=5s",
        ]
        .into_iter()
        .for_each(set);
    }
    command
}

fn start(command: &Command, home: &Home) -> Result<Supervisor, EmbeddedError> {
    // Nothing of a temporary database needs a clean shutdown.
    let signal = if home.is_temporary() { "QUIT" } else { "INT" };
    let stop_policy = StopPolicy {
        signal,
        remove: home.is_temporary().then_some(home.path()),
    };
    Supervisor::start(command, home.account(), home.new_log()?, stop_policy).map_err(|source| {
        EmbeddedError::Io {
            doing: "start `sh` to run Postgres".into(),
            source,
        }
    })
}

fn exited(supervisor: &mut Supervisor) -> Result<Option<ExitStatus>, EmbeddedError> {
    supervisor.exited().map_err(|source| EmbeddedError::Io {
        doing: "wait for Postgres".into(),
        source,
    })
}

/// Waits until Postgres answers, and makes the database if it is missing.
async fn ready(supervisor: &mut Supervisor, home: &Home, url: &str) -> Result<(), EmbeddedError> {
    let failed = |tail| EmbeddedError::Failed {
        program: "postgres",
        tail,
    };
    let begin = Instant::now();
    loop {
        let error = match database(url).await {
            // When the supervisor has ended, another server answered on that port.
            Ok(()) if exited(supervisor)?.is_none() => return Ok(()),
            Ok(()) => "another server answered".to_owned(),
            Err(error) if is_starting(&error) && begin.elapsed() < START_TIMEOUT => String::new(),
            Err(error) => error.to_string(),
        };
        tokio::time::sleep(Duration::from_millis(10)).await;
        if exited(supervisor)?.is_some() {
            return Err(failed(home.log_tail()));
        }
        if !error.is_empty() {
            return Err(failed(error));
        }
    }
}

async fn database(url: &str) -> sqlx::Result<()> {
    let options = url
        .parse::<sqlx::postgres::PgConnectOptions>()?
        .disable_statement_logging();
    let mut connection = PgConnection::connect_with(&options).await?;
    let there = sqlx::query("SELECT 1 FROM pg_database WHERE datname = 'rejoin'")
        .fetch_optional(&mut connection)
        .await?;
    if there.is_none() {
        sqlx::query("CREATE DATABASE rejoin")
            .execute(&mut connection)
            .await?;
    }
    connection.close().await
}

/// Refused or cut connections, and the answer that Postgres is starting up.
fn is_starting(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        sqlx::Error::Database(error) => error.code().as_deref() == Some("57P03"),
        _ => false,
    }
}

/// Whether the next attempt may well succeed.
fn is_transient(tail: &str) -> bool {
    tail.contains("could not bind")
        || tail.contains("could not create any TCP/IP sockets")
        || tail.contains("in use")
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}
