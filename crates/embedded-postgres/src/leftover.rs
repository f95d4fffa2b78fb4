//! Takes over from a run that was killed together with its supervisor: stops the Postgres that
//! still serves the directory.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::EmbeddedError;

/// How a leftover is asked to stop, and for how many tenths of a second to wait each time: a clean
/// shutdown first, then one that the next start recovers from.
const REQUESTS: [(Signal, u32); 2] = [(Signal::INT, 300), (Signal::QUIT, 100)];

/// Stops the Postgres of `data` if one runs. The caller holds the lock of the directory, so it has
/// no living owner.
pub(super) async fn stop(data: &Path) -> Result<(), EmbeddedError> {
    let file = data.join("postmaster.pid");
    let Some(pid) = fs::read_to_string(&file).ok().and_then(|text| pid(&text)) else {
        return Ok(());
    };
    if !serves(pid, data) {
        // The number may belong to another process by now, and Postgres would refuse to start
        // because of it.
        if test_kill_process(pid) != Err(Errno::SRCH) {
            fs::remove_file(&file).map_err(EmbeddedError::io("remove", &file))?;
        }
        return Ok(());
    }
    tracing::info!(
        pid = pid.as_raw_nonzero(),
        "stopping a Postgres left over from an earlier run"
    );
    for (signal, tenths) in REQUESTS {
        let _ = kill_process(pid, signal);
        for _ in 0..tenths {
            if !serves(pid, data) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Err(EmbeddedError::Stuck {
        dir: data.to_owned(),
        pid: pid.as_raw_nonzero().get(),
    })
}

/// The process id on the first line of a `postmaster.pid`.
fn pid(text: &str) -> Option<Pid> {
    text.lines()
        .next()?
        .trim()
        .parse()
        .ok()
        .filter(|&pid| pid > 1)
        .and_then(Pid::from_raw)
}

/// Whether that process is a Postgres of that data directory, by its command line: the number alone
/// may be reused.
fn serves(pid: Pid, data: &Path) -> bool {
    let pid = pid.as_raw_nonzero();
    let command = match fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(words) => words,
        Err(_) if Path::new("/proc/self").exists() => return false,
        Err(_) => {
            let shown = Command::new("ps")
                .args(["-ww", "-o", "command=", "-p", &pid.to_string()])
                .output();
            shown.map(|shown| shown.stdout).unwrap_or_default()
        }
    };
    let command = String::from_utf8_lossy(&command);
    command.contains("postgres") && command.contains(&*data.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reused_process_id_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("postmaster.pid");
        let mut bystander = Command::new("sleep").arg("60").spawn().unwrap();
        fs::write(
            &file,
            format!("{}\n{}\n", bystander.id(), dir.path().display()),
        )
        .unwrap();
        stop(dir.path()).await.unwrap();
        assert!(!file.exists());
        assert_eq!(bystander.try_wait().unwrap(), None);
        bystander.kill().unwrap();
        bystander.wait().unwrap();
    }

    #[test]
    fn only_a_whole_number_above_one_is_a_process() {
        assert_eq!(
            pid("4711\n/data\n").map(|pid| pid.as_raw_nonzero().get()),
            Some(4711)
        );
        for not in ["", "x", "0", "1", "-1", "-4711"] {
            assert_eq!(pid(not), None, "{not:?}");
        }
    }
}
