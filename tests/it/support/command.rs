//! The real binary, run as people run it.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::world::{ACCESS_KEY, SECRET, World};

/// Longer than any command takes, even where others compile beside it.
const PATIENCE: Duration = Duration::from_mins(1);

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
    let run = tokio::time::timeout(PATIENCE, command(arguments, variables).output()).await;
    let output = run.expect("it ends").expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("it prints text");
    Ended { code: output.status.code().expect("no signal"), out: text(output.stdout), err: text(output.stderr) }
}

/// The variables that lead to this world's database and 100ms.
pub(crate) fn settings<'a>(world: &'a World, base_url: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("DATABASE_URL", world.database.url()),
        ("HMS_BASE_URL", base_url),
        ("HMS_ACCESS_KEY", ACCESS_KEY),
        ("HMS_SECRET", SECRET),
    ]
}

fn command(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rejoin"));
    let kept = ["PATH", "HOME", "TMPDIR", "PG_BIN"].into_iter();
    let kept = kept.filter_map(|name| Some((name, std::env::var_os(name)?)));
    command.args(arguments).env_clear().envs(kept).envs(variables.iter().copied());
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}
