//! A replica: the real program, which can be killed and started again.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How many lines of its log are remembered.
const MAX_LINES: usize = 200;

pub(crate) struct Replica {
    variables: Vec<(String, String)>,
    running: Mutex<Option<Running>>,
    log: Arc<Mutex<VecDeque<String>>>,
}

struct Running {
    child: Child,
    /// `http://127.0.0.1:PORT`, once it listens.
    base: Arc<Mutex<Option<String>>>,
}

impl Replica {
    pub(crate) fn new(variables: Vec<(String, String)>) -> Self {
        Self {
            variables,
            running: Mutex::new(None),
            log: Arc::default(),
        }
    }

    /// Where it listens; none while it does not.
    pub(crate) fn base(&self) -> Option<String> {
        let running = self.running.lock().unwrap();
        running
            .as_ref()
            .and_then(|running| running.base.lock().unwrap().clone())
    }

    /// Starts it, and again where it gives up because the database is away, until it listens or the time is over.
    pub(crate) async fn start(&self, patience: Duration) -> bool {
        let start = Instant::now();
        while start.elapsed() < patience {
            self.ensure_process();
            if self.base().is_some() {
                return true;
            }
            sleep(Duration::from_millis(10)).await;
        }
        false
    }

    fn ensure_process(&self) {
        let mut running = self.running.lock().unwrap();
        let runs = |running: &mut Running| matches!(running.child.try_wait(), Ok(None));
        if running.as_mut().is_some_and(runs) {
            return;
        }
        *running = Some(self.spawn());
    }

    fn spawn(&self) -> Running {
        // Another build of the program can be put in its place.
        let other = std::env::var_os("STORM_PROGRAM");
        let program = other.unwrap_or_else(|| env!("CARGO_BIN_EXE_rejoin").into());
        let mut command = Command::new(program);
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .env_clear();
        command.envs(self.variables.iter().cloned());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let (base, log) = (Arc::new(Mutex::new(None)), Arc::clone(&self.log));
        let listening = Arc::clone(&base);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("listening on ") {
                    *listening.lock().unwrap() = Some(address.trim().to_owned());
                }
                let mut log = log.lock().unwrap();
                if log.len() == MAX_LINES {
                    log.pop_front();
                }
                log.push_back(line);
            }
        });
        Running { child, base }
    }

    /// `kill -9`.
    pub(crate) fn kill(&self) {
        if let Some(mut running) = self.running.lock().unwrap().take() {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }

    /// The memory it has in use, in MiB.
    pub(crate) fn resident_mib(&self) -> Option<u64> {
        let running = self.running.lock().unwrap();
        let id = running.as_ref()?.child.id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
        Some(kib >> 10)
    }

    /// The lines of the log that are errors.
    pub(crate) fn errors(&self) -> Vec<String> {
        let log = self.log.lock().unwrap();
        let bad = |line: &&String| line.contains("ERROR") || line.contains("panicked");
        log.iter().filter(bad).cloned().collect()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.kill();
    }
}
