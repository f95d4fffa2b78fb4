//! Runs a program of Postgres so that it cannot outlive this process, however this process ends.
//!
//! The program is the child of a small shell script, which also watches a pipe whose other end only
//! this process holds. When that end closes (stopped, dropped, Ctrl-C, panic, even `kill -9`) the
//! script stops the program. That is the only way to stop it, so the rare case is the tested one.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::account::Account;

/// `$1`: the signal that stops the program; `$2`: a directory to remove after a stop, or nothing;
/// then the program.
///
/// Signals are repeated because a program may not listen yet, and become the more forcible SIGQUIT
/// (which Postgres recovers from) after 30 s. The watcher signals the script by SIGUSR1, since a
/// subshell cannot set its variables.
const SCRIPT: &str = r#"
signal=$1 directory=$2 stopping= tries=0
shift 2
exec 3<&0 </dev/null
trap '' HUP INT TERM
stop() {
    stopping=yes tries=$((tries + 1))
    [ "$tries" -lt 300 ] || signal=QUIT
    kill -"$signal" "$program" 2>/dev/null
}
trap stop USR1
"$@" 3<&- &
program=$!
{
    read -r _ <&3
    while kill -USR1 $$ 2>/dev/null; do sleep 0.1; done
} 2>/dev/null >&2 &
watcher=$!
while :; do
    wait "$program"
    status=$?
    kill -0 "$program" 2>/dev/null || break
done
kill -KILL "$watcher" 2>/dev/null
[ -z "$stopping" ] || [ -z "$directory" ] || rm -rf "$directory"
exit "$status"
"#;

/// How long a stop may take before the whole process group is killed. Longer than the script itself
/// waits.
const STOP_TIMEOUT: Duration = Duration::from_secs(40);

/// How a supervised program is stopped.
#[derive(Debug, Clone, Copy)]
pub(super) struct StopPolicy<'a> {
    /// The signal that stops it, by its shell name.
    pub(super) signal: &'static str,
    /// A directory that goes with it.
    pub(super) remove: Option<&'a Path>,
}

/// A running program. Dropping it stops the program and waits for its end.
#[derive(Debug)]
pub(super) struct Supervisor {
    script: Child,
    lifeline: Option<ChildStdin>,
}

impl Supervisor {
    /// Starts a program with a log file for its output, in a process group of its own: Ctrl-C in
    /// the terminal is for this process, which then stops the program itself.
    pub(super) fn start(
        program: &Command,
        account: &Account,
        log: File,
        stop_policy: StopPolicy<'_>,
    ) -> io::Result<Self> {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(SCRIPT)
            .arg("embedded-postgres-supervisor")
            .arg(stop_policy.signal);
        command
            .arg(stop_policy.remove.unwrap_or(Path::new("")))
            .arg(program.get_program())
            .args(program.get_args());
        command.current_dir("/").process_group(0);
        command
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log);
        // The time zone spares initdb a search through all of them.
        command.env("TZ", "UTC");
        account.run_as(&mut command);
        let mut script = command.spawn()?;
        Ok(Self {
            lifeline: script.stdin.take(),
            script,
        })
    }

    /// How the program ended, or `None` while it runs.
    pub(super) fn exited(&mut self) -> io::Result<Option<ExitStatus>> {
        self.script.try_wait()
    }

    /// Lets the program run until the returned end of its pipe is closed, by whoever then holds it.
    pub(super) fn release(mut self) -> Option<ChildStdin> {
        self.lifeline.take()
    }

    fn wait(&mut self, timeout: Duration) -> bool {
        let start = Instant::now();
        while start.elapsed() < timeout {
            if !matches!(self.script.try_wait(), Ok(None)) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        false
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if self.lifeline.take().is_none() || self.wait(STOP_TIMEOUT) {
            return;
        }
        let group = i32::try_from(self.script.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
            self.wait(Duration::from_secs(1));
        }
    }
}
