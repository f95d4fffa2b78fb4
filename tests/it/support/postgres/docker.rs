//! A Postgres in a container.

use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt};
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
    let container = request(image, name, max_connections)
        .start()
        .await
        .map_err(|error| error.to_string())?;
    let url = url(&container).await.map_err(|error| error.to_string());
    // It would remove the container at the end of this process, but other processes of the run may use it still.
    std::mem::forget(container);
    let url = url?;
    answers(&url).await?;
    Ok(url)
}

fn request(image: &str, name: &str, max_connections: u16) -> ContainerRequest<GenericImage> {
    let (repository, tag) = match image.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (image, "latest"),
    };
    let settings = [
        "postgres".to_owned(),
        "-cfsync=off".to_owned(),
        "-csynchronous_commit=off".to_owned(),
        "-cfull_page_writes=off".to_owned(),
        format!("-cmax_connections={max_connections}"),
    ];
    GenericImage::new(repository, tag)
        .with_exposed_port(5432.into())
        .with_container_name(name)
        .with_env_var("POSTGRES_PASSWORD", PASSWORD)
        .with_cmd(settings)
}

async fn url(
    container: &ContainerAsync<GenericImage>,
) -> Result<Url, testcontainers::TestcontainersError> {
    let (host, port) = (
        container.get_host().await?,
        container.get_host_port_ipv4(5432).await?,
    );
    let url = format!("postgres://postgres:{PASSWORD}@{host}:{port}/postgres?sslmode=disable");
    Ok(Url::parse(&url).expect("a URL"))
}

/// Waits for Postgres itself: images differ in what they log, and restart it once while they set it up.
async fn answers(url: &Url) -> Result<(), String> {
    for _ in 0..600 {
        if let Ok(connection) = PgConnection::connect(url.as_str()).await {
            return connection.close().await.map_err(|error| error.to_string());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err("Postgres does not answer in it".into())
}
