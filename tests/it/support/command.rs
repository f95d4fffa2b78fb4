//! The real binary, run as users run it.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::program::Upstream;
use super::world::{ACCESS_KEY, SECRET};

/// Longer than any command takes to end, or the service to start, on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// How a command ended, and what it printed.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    /// The same, where its exit code is this one.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

/// Runs a command to its end, with these variables and no others.
pub(crate) async fn rejoin(arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
    let mut command = tokio::process::Command::from(command(arguments, variables));
    let run = tokio::time::timeout(PATIENCE, command.kill_on_drop(true).output()).await;
    let output = run.expect("it ends").expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("it prints text");
    Ended {
        code: output.status.code().expect("no signal"),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

/// The settings of this database and this 100ms.
pub(crate) fn settings<'a>(
    database_url: &'a str,
    upstream: &'a Upstream,
) -> Vec<(&'a str, &'a str)> {
    vec![
        ("DATABASE_URL", database_url),
        ("HMS_BASE_URL", &upstream.url),
        ("HMS_ACCESS_KEY", ACCESS_KEY),
        ("HMS_SECRET", SECRET),
    ]
}

/// The real binary with these arguments, in the environment of the tests, without anything to read.
pub(crate) fn binary(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rejoin"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// The real binary, with these variables and those that any program needs.
pub(super) fn command(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let inherited = ["PATH", "HOME", "TMPDIR", "PG_BIN"].into_iter();
    let inherited = inherited.filter_map(|name| Some((name, std::env::var_os(name)?)));
    let mut command = binary(arguments);
    command
        .env_clear()
        .envs(inherited)
        .envs(variables.iter().copied());
    command
}
