//! The real program, as a process, beside a simulated 100ms that shares its clock: the machine's.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rejoin::sim::{self, Sim, SimConfig};
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::world::{ACCESS_KEY, SECRET};

/// A simulated 100ms on a port of its own.
pub(crate) struct Upstream {
    pub(crate) sim: Sim,
    url: String,
    _stop: DropGuard,
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let sim = Sim::new(SimConfig::new(ACCESS_KEY, SECRET.into()));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/v2", listener.local_addr().expect("it is bound"));
        let stop = CancellationToken::new();
        tokio::spawn(sim::serve(listener, sim.clone(), stop.clone()));
        Self { sim, url, _stop: stop.drop_guard() }
    }
}

/// A running `rejoin serve`. It is killed when this is dropped.
pub(crate) struct Program {
    child: Child,
    /// `http://127.0.0.1:PORT`.
    pub(crate) base: String,
}

impl Program {
    /// Starts the program, and returns once it says where it listens.
    pub(crate) async fn serve(database_url: &str, upstream: &Upstream) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rejoin"));
        command.arg("serve").env_clear().env("DATABASE_URL", database_url).env("HMS_BASE_URL", &upstream.url);
        command.env("HMS_ACCESS_KEY", ACCESS_KEY).env("HMS_SECRET", SECRET).env("REJOIN_LISTEN", "127.0.0.1:0");
        // Others may be at work on this machine: no scenario is about a slow simulator.
        command.env("REJOIN_UPSTREAM_TIMEOUT", "30s");
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let log = BufReader::new(child.stderr.take().expect("a pipe"));
        let (said, listening) = tokio::sync::oneshot::channel();
        // Reads on to the end, so that the program never waits for a reader.
        std::thread::spawn(move || {
            let (mut said, mut before) = (Some(said), String::new());
            for line in log.lines().map_while(Result::ok) {
                match line.split_once("listening on ") {
                    Some((_, base)) => drop(said.take().map(|said| said.send(Ok(base.trim().to_owned())))),
                    None if said.is_some() => before = before + &line + "\n",
                    None => {}
                }
            }
            said.map(|said| said.send(Err(before)))
        });
        let base = listening.await.expect("the log is read").unwrap_or_else(|log| panic!("it did not start:\n{log}"));
        Self { child, base }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.child.id().try_into().expect("a process id")).expect("not zero");
        kill_process(id, signal).expect("the program can be told");
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return status;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "the program does not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The memory it has in use, in MiB.
    pub(crate) fn resident_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a running program");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") >> 10
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
