//! The real program, as a process, beside a simulated 100ms that shares its clock: the machine's.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hms_sim::{Sim, SimConfig};
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::command::{PATIENCE, command, settings};
use super::world::{ACCESS_KEY, ROOM, Replica, SECRET, join_of};

/// A simulated 100ms on a port of its own.
pub(crate) struct Upstream {
    pub(crate) sim: Sim,
    /// `http://127.0.0.1:PORT/v2`.
    pub(crate) url: String,
    _stop: DropGuard,
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let sim = Sim::new(SimConfig::new(ACCESS_KEY, SECRET.into()));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/v2", listener.local_addr().expect("it is bound"));
        let stop = CancellationToken::new();
        tokio::spawn(hms_sim::serve(listener, sim.clone(), stop.clone()));
        Self {
            sim,
            url,
            _stop: stop.drop_guard(),
        }
    }

    /// Lets a peer of a chosen id into [`ROOM`].
    pub(crate) fn join(&self, user: &str, peer: &str, metadata: &str) {
        self.sim
            .join(ROOM, join_of(user, peer, metadata))
            .expect("the peer can join");
    }
}

/// A running `rejoin serve`. It is killed when this is dropped.
pub(crate) struct Program {
    child: Child,
    /// `http://127.0.0.1:PORT`.
    pub(crate) base: String,
    log: Option<JoinHandle<String>>,
}

impl Program {
    /// Starts the program, and returns once it says where it listens.
    pub(crate) async fn serve(database_url: &str, upstream: &Upstream) -> Self {
        let mut variables = settings(database_url, upstream);
        // No scenario with the real program is about a slow 100ms, and the machine may be busy.
        variables.push(("REJOIN_UPSTREAM_TIMEOUT", "30s"));
        Self::start(&[], &variables).await
    }

    /// The same with these arguments and these variables alone, on a free port.
    pub(crate) async fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let arguments = [&["serve", "--listen", "127.0.0.1:0"], arguments].concat();
        Self::run(command(&arguments, variables)).await
    }

    /// The same in a shell that runs this script, which has the command as its arguments.
    pub(crate) async fn start_in_shell(script: &str, variables: &[(&str, &str)]) -> Self {
        let program = command(&["serve", "--listen", "127.0.0.1:0"], variables);
        let mut shell = Command::new("/bin/bash");
        shell.arg("-c").arg(script).arg(program.get_program());
        shell.args(program.get_args()).env_clear();
        shell.envs(variables.iter().copied());
        Self::run(shell).await
    }

    async fn run(mut command: Command) -> Self {
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let log = BufReader::new(child.stderr.take().expect("a pipe"));
        let (found, listening) = tokio::sync::oneshot::channel();
        // Reads on to the end, so that the program never waits for a reader.
        let log = std::thread::spawn(move || {
            let (mut found, mut all) = (Some(found), String::new());
            for line in log.lines().map_while(Result::ok) {
                if let Some((_, base)) = line.split_once("listening on ") {
                    drop(found.take().map(|found| found.send(base.trim().to_owned())));
                }
                all = all + &line + "\n";
            }
            all
        });
        let base = match tokio::time::timeout(PATIENCE, listening).await {
            Ok(Ok(base)) => base,
            outcome => {
                let _ = child.kill();
                let log = log.join().expect("the log is read");
                panic!("it does not listen ({outcome:?}):\n{log}");
            }
        };
        Self {
            child,
            base,
            log: Some(log),
        }
    }

    /// A client of it.
    pub(crate) fn app(&self) -> Replica {
        Replica::at(self.base.clone())
    }

    /// Signals it to stop, waits for its end, and returns what it logged.
    pub(crate) async fn stop(mut self) -> (ExitStatus, String) {
        self.signal(Signal::TERM);
        let status = self.ended().await;
        let log = self
            .log
            .take()
            .map(|log| log.join().expect("the log is read"));
        (status, log.unwrap_or_default())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the program takes signals");
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return status;
            }
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "the program does not end"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// How many files it may open.
    pub(crate) fn max_open_files(&self) -> u64 {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", self.child.id()))
            .expect("/proc can be read: this test needs Linux");
        let line = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max open files"))
            .expect("the limit of open files");
        let soft = line.split_whitespace().next().expect("the soft limit");
        soft.parse().expect("a number")
    }

    /// The memory it has in use, in MiB.
    pub(crate) fn resident_mib(&self) -> u64 {
        self.memory_mib("VmRSS:")
    }

    /// The most memory that it has had in use, in MiB.
    pub(crate) fn peak_resident_mib(&self) -> u64 {
        self.memory_mib("VmHWM:")
    }

    fn memory_mib(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .expect("/proc can be read: this test needs Linux");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .expect("its memory");
        line.trim()
            .trim_end_matches(" kB")
            .parse::<u64>()
            .expect("a number")
            >> 10
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
