//! The commands `demo` and `sim`, as the real binary.

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::Client;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::command::binary;
use crate::support::temp::temp_dir;

/// The binary, in an environment where every setting is wrong and temporary files go to `temp`.
fn rejoin(temp: &Path, args: &[&str]) -> Command {
    let mut command = binary(args);
    command
        .env("TMPDIR", temp)
        .env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none");
    command
        .env("REJOIN_LISTEN", "nowhere")
        .env("HMS_BASE_URL", "nowhere")
        .env_remove("RUST_LOG");
    command.env("HTTP_PROXY", "http://127.0.0.1:1");
    command
}

fn assert_nothing_is_left(temp: &Path) {
    let left: Vec<_> = fs::read_dir(temp)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let processes = Command::new("ps")
        .args(["-A", "-o", "args="])
        .output()
        .expect("`ps` can be run: install procps")
        .stdout;
    let processes = String::from_utf8_lossy(&processes).into_owned();
    assert!(!processes.contains(temp.to_str().unwrap()), "{processes}");
}

/// Takes a port, from the demo of another test once that ends. If it is still taken after that,
/// another program has it.
fn taken(port: u16) -> Option<TcpListener> {
    let start = Instant::now();
    loop {
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(listener) => return Some(listener),
            Err(_) if start.elapsed() > Duration::from_secs(30) => return None,
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

#[test]
fn the_story_passes_and_leaves_nothing_behind() {
    let _taken = [8080, 8100].map(taken);
    let temp = temp_dir();
    let output = rejoin(temp.path(), &["demo", "--once"]).output().unwrap();
    let (output_text, log) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert!(output.status.success(), "{output_text}\n{log}");
    assert_eq!(log, "", "no log lines are mixed in");
    assert!(
        !output_text.contains('\x1b'),
        "no escape codes where there is no terminal"
    );
    assert!(
        output_text.contains("(8080 is taken)") && output_text.contains("(8100 is taken)"),
        "{output_text}"
    );
    for line in [
        "1. Ada joins the room \"arena\"",
        "  > GET /v2/active-rooms/arena/peers?user_id=ada",
        "  > POST /v1/rooms/arena/snapshots",
        "  > GET /v1/users/ada/resume",
        "  ok: level, gold and bag are back, byte for byte",
        "  ok: resume gives what she has now",
        "  < 502 Bad Gateway",
        "  ok: rejoin has restored his state to his new peer automatically",
        "  ok: rejoin has Cy's state, and knows that Cy dropped",
        "Everything is stopped and removed.",
    ] {
        assert!(
            output_text.lines().any(|own| own == line),
            "{line}\n{output_text}"
        );
    }
    assert!(output_text.contains("steps passed."), "{output_text}");
    let wide: Vec<_> = output_text
        .lines()
        .filter(|line| line.chars().count() > 80)
        .collect();
    assert!(wide.is_empty(), "{wide:#?}");
    assert_nothing_is_left(temp.path());
}

#[tokio::test]
async fn it_stays_up_with_a_working_key_until_ctrl_c() {
    let temp = temp_dir();
    let mut demo = Running::start(rejoin(temp.path(), &["demo"]));
    let key = demo.rest_of_line("KEY=");
    let base = demo.rest_of_line("REJOIN=");
    let path = demo.rest_of_line("  \"$REJOIN").replace("\"; echo", "");
    let answer = get(&format!("{base}{path}"), &key).await;
    assert_eq!(answer["user_id"], "ada");
    let database = demo.rest_of_line("export DATABASE_URL=");
    let rows = sqlx::PgPool::connect(database.trim_matches('\''))
        .await
        .unwrap();
    let users: i64 = sqlx::query_scalar("SELECT count(*) FROM resume_state")
        .fetch_one(&rows)
        .await
        .unwrap();
    assert_eq!(users, 3);
    rows.close().await;
    demo.rest_of_line("All of the API, in a browser: ");
    demo.end(Signal::INT);
    assert_nothing_is_left(temp.path());
}

#[test]
fn ctrl_c_in_the_middle_leaves_nothing_behind() {
    let temp = temp_dir();
    let mut demo = Running::start(rejoin(temp.path(), &["demo"]));
    demo.rest_of_line("Starting a Postgres");
    kill_process(Pid::from_child(&demo.child), Signal::INT).unwrap();
    assert_eq!(demo.child.wait().unwrap().code(), Some(1));
    assert_nothing_is_left(temp.path());
}

#[test]
fn without_a_postgres_the_demo_says_what_to_do() {
    let temp = temp_dir();
    let output = rejoin(temp.path(), &["demo", "--once"])
        .env("PG_BIN", "/nowhere")
        .output()
        .unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        log.starts_with("error: PG_BIN is /nowhere, but") && log.lines().count() == 1,
        "{log}"
    );
    assert_nothing_is_left(temp.path());
}

#[tokio::test]
async fn the_simulator_answers_until_sigterm() {
    let temp = temp_dir();
    let mut command = rejoin(
        temp.path(),
        &["sim", "--listen", "127.0.0.1:0", "--ghost", "5s"],
    );
    command.env("HMS_ACCESS_KEY", "").env("HMS_SECRET", "hush");
    let mut sim = Running::start(command);
    let base = sim.rest_of_line("HMS_BASE_URL=");
    assert_eq!(sim.rest_of_line("HMS_ACCESS_KEY="), "sim-access-key");
    assert_eq!(sim.rest_of_line("HMS_SECRET="), "(the one given)");
    let refused = get(&format!("{base}/active-rooms/arena/peers"), "no-token").await;
    assert_eq!(refused["code"], 401);
    let state = get(&base.replace("/v2", "/control/state"), "").await;
    assert_eq!(state["rooms"], serde_json::json!({}));
    sim.end(Signal::TERM);
}

async fn get(url: &str, token: &str) -> Value {
    let client = Client::builder().no_proxy().build().unwrap();
    client
        .get(url)
        .bearer_auth(token)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap()
}

/// A running command; killed if a test fails.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Reads on to the line that starts so.
    fn rest_of_line(&mut self, start: &str) -> String {
        let found = self
            .lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| Some(line.strip_prefix(start)?.to_owned()));
        found.unwrap_or_else(|| panic!("it ended without a line that starts with {start:?}"))
    }

    /// Ends it with a signal, which is a good end.
    fn end(&mut self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.lines.by_ref().map_while(Result::ok).for_each(drop);
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
