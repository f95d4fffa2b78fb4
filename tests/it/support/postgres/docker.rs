//! A Postgres in a container.

use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use url::Url;
use uuid::Uuid;

use super::server::{Server, variable};

/// Until the image is pulled and Postgres answers.
const PATIENCE: Duration = Duration::from_mins(3);

const PASSWORD: &str = "for-tests-only";

/// Starts a container that is removed when the lifeline closes.
pub(super) async fn start(max_connections: u16) -> Result<Server, String> {
    if !engine_answers() {
        return Err(
            "no Docker engine answers `docker version`: start one, or set TEST_POSTGRES=embedded"
                .into(),
        );
    }
    let image = variable("TEST_POSTGRES_IMAGE").unwrap_or_else(|| "postgres:17-alpine".into());
    let name = format!("rejoin-tests-{}", Uuid::new_v4().simple());
    let lifeline = lifeline(&name).map_err(|error| format!("`sh` cannot be started: {error}"))?;
    let started = tokio::time::timeout(PATIENCE, run(&image, &name, max_connections)).await;
    let failed = |why: &str| {
        let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
        format!(
            "the image {image} cannot be run ({why}): pull it, or set TEST_POSTGRES_IMAGE to one that is here"
        )
    };
    let url = started
        .map_err(|_| failed("it took too long"))?
        .map_err(|error| failed(&error))?;
    Ok(Server {
        url,
        lifeline: Some(lifeline),
        description: format!("a container of {image}"),
    })
}

fn engine_answers() -> bool {
    let version = Command::new("docker")
        .arg("version")
        .stdin(Stdio::null())
        .output();
    version.is_ok_and(|output| output.status.success())
}

/// A pipe: when its last holder is gone, however it went, the container is removed.
fn lifeline(container: &str) -> std::io::Result<ChildStdin> {
    let mut watcher = Command::new("sh");
    watcher.args([
        "-c",
        r#"trap '' HUP INT TERM; read -r _; docker rm --force --volumes "$1""#,
        "sh",
        container,
    ]);
    watcher
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Ok(watcher.spawn()?.stdin.take().expect("its stdin is a pipe"))
}

async fn run(image: &str, name: &str, max_connections: u16) -> Result<Url, String> {
    let password = format!("POSTGRES_PASSWORD={PASSWORD}");
    let max_connections = format!("-cmax_connections={max_connections}");
    let container = ["run", "--detach", "--name", name, "--env", &password];
    let settings = [
        "-cfsync=off",
        "-csynchronous_commit=off",
        "-cfull_page_writes=off",
        "-cauthentication_timeout=5s",
        &max_connections,
    ];
    let command = [
        &container[..],
        &["--publish", "127.0.0.1::5432", image],
        &settings,
    ]
    .concat();
    docker(&command).await?;
    let address = docker(&["port", name, "5432/tcp"]).await?;
    let address = address.lines().next().unwrap_or_default();
    let url = format!("postgres://postgres:{PASSWORD}@{address}/postgres?sslmode=disable");
    let url = Url::parse(&url).map_err(|error| format!("{url}: {error}"))?;
    answers(&url).await?;
    Ok(url)
}

/// Runs a Docker command, and returns what it prints.
async fn docker(args: &[&str]) -> Result<String, String> {
    let output = tokio::process::Command::new("docker")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Waits for Postgres itself: images differ in what they log, and restart it once while they set it
/// up.
async fn answers(url: &Url) -> Result<(), String> {
    for _ in 0..600 {
        if let Ok(connection) = PgConnection::connect(url.as_str()).await {
            return connection.close().await.map_err(|error| error.to_string());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err("Postgres does not answer in it".into())
}
