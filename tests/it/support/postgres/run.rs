//! One server per run, which ends with it.
//!
//! Under `cargo test` a run is one process: it holds the lifeline of the server until its end.
//! Under nextest every test is a process: the first one starts the server, hands the lifeline to a
//! process that waits for nextest's end, and leaves the URL in a file for the others.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;

use rustix::process::{Pid, getppid};
use url::Url;

use super::server::{self, Server};

/// Never closed by this process: the system does that at its end.
static LIFELINE: Mutex<Option<ChildStdin>> = Mutex::new(None);

/// The URL of the server of this run, started if it is not yet.
pub(super) async fn server() -> Result<Url, String> {
    match std::env::var("NEXTEST_RUN_ID") {
        Ok(id) => shared(&id).await,
        Err(_) => own().await,
    }
}

async fn own() -> Result<Url, String> {
    let server = start().await?;
    *LIFELINE.lock().expect("nobody panics with it") = server.lifeline;
    Ok(server.url)
}

async fn shared(run: &str) -> Result<Url, String> {
    // Asked before anything takes time: if nextest is killed meanwhile, this process gets another
    // parent.
    let nextest = getppid().expect("nextest started this process");
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("postgres-{run}"));
    let failed = |error: std::io::Error| format!("{} cannot be used: {error}", dir.display());
    fs::create_dir_all(&dir).map_err(failed)?;
    // Waits for the process that starts the server. No other task of this process has anything to
    // do meanwhile.
    let lock = File::create(dir.join("lock")).map_err(failed)?;
    lock.lock().map_err(failed)?;
    let note = dir.join("url");
    if let Ok(url) = fs::read_to_string(&note) {
        return Url::parse(&url).map_err(|error| format!("{}: {error}", note.display()));
    }
    let server = start().await?;
    hand_over(server.lifeline, nextest, &dir).map_err(failed)?;
    fs::write(&note, server.url.as_str()).map_err(failed)?;
    Ok(server.url)
}

/// Holds the lifeline, as the standard output of a process, for as long as nextest lives.
fn hand_over(lifeline: Option<ChildStdin>, nextest: Pid, notes: &Path) -> std::io::Result<Child> {
    let nextest = nextest.as_raw_nonzero().to_string();
    let mut holder = Command::new("sh");
    holder.args([
        "-c",
        r#"trap '' HUP INT TERM; while kill -0 "$1"; do sleep 0.2; done; rm -rf "$2""#,
        "sh",
        &nextest,
    ]);
    holder
        .arg(notes)
        .process_group(0)
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    holder
        .stdout(lifeline.map_or_else(Stdio::null, Stdio::from))
        .spawn()
}

async fn start() -> Result<Server, String> {
    let server = server::start().await?;
    // Past the capture of the test harness: which server it was matters for every test.
    let _ = writeln!(
        std::io::stderr(),
        "postgres for tests: {}",
        server.description
    );
    Ok(server)
}
