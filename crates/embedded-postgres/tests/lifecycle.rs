//! The embedded Postgres: that it works, stores what it should, and leaves nothing else behind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use embedded_postgres::{Durability, EmbeddedError, EmbeddedPostgres, Options};
use rustix::process::{Pid, Signal, geteuid, kill_process, test_kill_process};
use sqlx::{Connection, PgConnection};

fn options() -> Options {
    Options::default().durability(Durability::None)
}

async fn ask(url: &str, question: &'static str) -> sqlx::Result<String> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::query_scalar(question)
        .fetch_one(&mut connection)
        .await
}

async fn execute(url: &str, statement: &'static str) {
    sqlx::query(statement)
        .execute(&mut PgConnection::connect(url).await.unwrap())
        .await
        .unwrap();
}

/// A directory that Postgres can reach when the tests run as root.
fn reachable_dir() -> tempfile::TempDir {
    dir_of_mode(0o755)
}

fn dir_of_mode(mode: u32) -> tempfile::TempDir {
    tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(mode))
        .tempdir()
        .unwrap()
}

fn postmaster(dir: &Path) -> Pid {
    let text = fs::read_to_string(dir.join("data/postmaster.pid")).unwrap();
    Pid::from_raw(text.lines().next().unwrap().parse().unwrap()).unwrap()
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "not in 20 s: {what}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn it_answers_on_the_loopback_interface_only_and_leaves_nothing() {
    let postgres = Options::default()
        .max_connections(37)
        .start()
        .await
        .unwrap();
    let (url, dir) = (postgres.url().to_owned(), postgres.dir().to_owned());
    assert_eq!(
        ask(&url, "SELECT current_database()::text").await.unwrap(),
        "rejoin"
    );
    assert_eq!(
        ask(&url, "SHOW listen_addresses").await.unwrap(),
        "127.0.0.1"
    );
    assert_eq!(ask(&url, "SHOW unix_socket_directories").await.unwrap(), "");
    assert_eq!(ask(&url, "SHOW max_connections").await.unwrap(), "37");
    assert_eq!(ask(&url, "SHOW server_encoding").await.unwrap(), "UTF8");
    assert_eq!(ask(&url, "SHOW fsync").await.unwrap(), "on");
    let guessed = ask(&url.replace("//postgres:", "//postgres:x"), "SELECT 'in'").await;
    assert!(
        guessed.unwrap_err().to_string().contains("password"),
        "another password must be refused"
    );

    let owner = fs::metadata(dir.join("data")).unwrap().uid();
    assert_eq!(
        owner == geteuid().as_raw(),
        !geteuid().is_root(),
        "root does not own the data, others do"
    );
    let process = postmaster(&dir);
    postgres.stop().await;
    assert!(test_kill_process(process).is_err() && !dir.exists());
    assert!(ask(&url, "SELECT 'still there'").await.is_err());
}

#[tokio::test]
async fn a_directory_outlives_the_process_with_its_data_and_password() {
    let base = reachable_dir();
    let dir = base.path().join("not/there/yet");
    let first = options().dir(&dir).start().await.unwrap();
    execute(
        first.url(),
        "CREATE TABLE stored AS SELECT 'stored'::text AS word",
    )
    .await;
    let in_use = options().dir(&dir).start().await.unwrap_err();
    assert!(matches!(&in_use, EmbeddedError::InUse { .. }), "{in_use}");
    let password = fs::read_to_string(dir.join("password")).unwrap();
    assert_eq!(
        fs::metadata(dir.join("password")).unwrap().mode() & 0o777,
        0o600
    );
    first.stop().await;

    let second = options().dir(&dir).start().await.unwrap();
    assert_eq!(
        ask(second.url(), "SELECT word FROM stored").await.unwrap(),
        "stored"
    );
    assert!(second.url().contains(password.trim()));
}

#[tokio::test]
async fn a_panic_stops_it() {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let panicking = tokio::spawn(async {
        let postgres = options().start().await.unwrap();
        sender
            .send((postmaster(postgres.dir()), postgres.dir().to_owned()))
            .unwrap();
        panic!("on purpose");
    });
    let (process, dir) = receiver.await.unwrap();
    assert!(panicking.await.unwrap_err().is_panic());
    assert!(test_kill_process(process).is_err() && !dir.exists());
}

#[tokio::test]
async fn lost_passwords_and_closed_directories_are_explained_in_one_sentence() {
    let base = reachable_dir();
    let dir = base.path().join("data");
    options().dir(&dir).start().await.unwrap().stop().await;
    fs::remove_file(dir.join("password")).unwrap();
    let error = options().dir(&dir).start().await.unwrap_err().to_string();
    assert!(
        error.contains("password cannot be read") && error.contains("choose another directory"),
        "{error}"
    );

    if geteuid().is_root() {
        let closed = dir_of_mode(0o700);
        let error = options()
            .dir(closed.path().join("inner"))
            .start()
            .await
            .unwrap_err();
        assert!(
            matches!(&error, EmbeddedError::Unreachable { .. }),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_killed_owner_takes_it_along() {
    let mut owner = Owner::start(None);
    let (process, dir) = (postmaster(&owner.dir), owner.dir.clone());
    owner.kill();
    eventually("Postgres is gone", || test_kill_process(process).is_err()).await;
    eventually("its directory is gone", || !dir.exists()).await;
}

#[tokio::test]
async fn ctrl_c_stops_it() {
    let mut owner = Owner::start(None);
    let (process, dir) = (postmaster(&owner.dir), owner.dir.clone());
    rustix::process::kill_process_group(Pid::from_child(&owner.child), Signal::INT).unwrap();
    assert!(owner.child.wait().unwrap().success());
    assert!(test_kill_process(process).is_err() && !dir.exists());
}

#[tokio::test]
async fn one_that_lost_its_owner_and_its_guard_is_taken_over() {
    let base = reachable_dir();
    let dir = base.path().join("data");
    let mut owner = Owner::start(Some(&dir));
    execute(
        &owner.url,
        "CREATE TABLE stored AS SELECT 'stored'::text AS word",
    )
    .await;
    let orphan = postmaster(&dir);
    for guard in others_in_group_of(orphan) {
        kill_process(guard, Signal::KILL).unwrap();
    }
    owner.kill();
    assert_eq!(
        ask(&owner.url, "SELECT word FROM stored").await.unwrap(),
        "stored",
        "the orphan lives"
    );

    let next = EmbeddedPostgres::start(Some(&dir)).await.unwrap();
    eventually("the orphan is gone", || test_kill_process(orphan).is_err()).await;
    assert_eq!(
        ask(next.url(), "SELECT word FROM stored").await.unwrap(),
        "stored"
    );
    assert!(ask(&owner.url, "SELECT 'orphan'").await.is_err());
}

#[test]
fn a_wrong_pg_bin_is_explained_in_one_sentence() {
    let output = Owner::command(None)
        .env("PG_BIN", "/nowhere")
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let sentence = "error: PG_BIN is /nowhere, but there is no `initdb` in it: set it to a directory with `initdb` and \
                    `postgres`, or unset it\n";
    assert_eq!(String::from_utf8_lossy(&output.stderr), sentence);
    assert_eq!(output.status.code(), Some(1));
}

/// Another process that runs an embedded Postgres: the command.
struct Owner {
    child: Child,
    url: String,
    dir: PathBuf,
}

impl Owner {
    fn command(dir: Option<&Path>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_embedded-postgres"));
        command
            .arg("--no-durability")
            .process_group(0)
            .stderr(Stdio::null());
        if let Some(dir) = dir {
            command.arg("--dir").arg(dir);
        }
        command
    }

    fn start(dir: Option<&Path>) -> Self {
        let mut child = Self::command(dir).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut rest_of_line = |marker: &str| {
            lines
                .by_ref()
                .map_while(Result::ok)
                .find_map(|line| Some(line.split_once(marker)?.1.to_owned()))
                .unwrap_or_else(|| panic!("a line with {marker:?}"))
        };
        Self {
            dir: rest_of_line("Its data, log and password are in ").into(),
            url: rest_of_line("DATABASE_URL="),
            child,
        }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn others_in_group_of(process: Pid) -> Vec<Pid> {
    let listed = Command::new("ps")
        .args(["-A", "-o", "pid=,pgid="])
        .output()
        .unwrap()
        .stdout;
    let listed = String::from_utf8(listed).unwrap();
    let rows: Vec<(i32, i32)> = listed
        .lines()
        .map(|line| {
            line.split_whitespace()
                .map(|number| number.parse().unwrap())
                .collect::<Vec<_>>()
        })
        .map(|row| (row[0], row[1]))
        .collect();
    let this = process.as_raw_nonzero().get();
    let group = rows.iter().find(|row| row.0 == this).unwrap().1;
    rows.into_iter()
        .filter(|row| row.1 == group && row.0 != this)
        .filter_map(|row| Pid::from_raw(row.0))
        .collect()
}
