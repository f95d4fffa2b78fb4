//! Which Postgres the tests use, and starting it.

use std::env;
use std::process::ChildStdin;

use embedded_postgres::{Durability, Options};
use sqlx::{Connection, PgConnection};
use url::Url;

use super::docker;

/// Enough for many tests at once, each with a service and its pools.
const MAX_CONNECTIONS: u16 = 300;

/// The kinds of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// `TEST_DATABASE_URL`.
    Url,
    /// A container of `TEST_POSTGRES_IMAGE`.
    Docker,
    /// The one that rejoin itself can run.
    Embedded,
}

/// A server that runs until its lifeline is closed; one that is not ours has none.
pub(crate) struct Server {
    pub(crate) url: Url,
    pub(crate) lifeline: Option<ChildStdin>,
    /// What it is, for people.
    pub(crate) description: String,
}

impl Choice {
    /// Reads `TEST_POSTGRES`, which forces a choice.
    pub(crate) fn forced(value: Option<&str>) -> Result<Option<Self>, String> {
        match value {
            None | Some("") => Ok(None),
            Some("url") => Ok(Some(Self::Url)),
            Some("docker") => Ok(Some(Self::Docker)),
            Some("embedded") => Ok(Some(Self::Embedded)),
            Some(other) => Err(format!(
                "TEST_POSTGRES is `{other}`, and it should be `url`, `docker` or `embedded`"
            )),
        }
    }

    async fn start(self) -> Result<Server, String> {
        match self {
            Self::Url => given().await,
            Self::Docker => docker::start(MAX_CONNECTIONS).await,
            Self::Embedded => embedded().await,
        }
    }
}

/// Starts the server that the environment asks for, else the first that can be had.
pub(crate) async fn start() -> Result<Server, String> {
    if let Some(forced) = Choice::forced(variable("TEST_POSTGRES").as_deref())? {
        return forced.start().await;
    }
    if variable("TEST_DATABASE_URL").is_some() {
        return Choice::Url.start().await;
    }
    let no_docker = match Choice::Docker.start().await {
        Ok(server) => return Ok(server),
        Err(why) => why,
    };
    let embedded = Choice::Embedded.start().await;
    let described = embedded.map(|server| Server {
        description: format!(
            "{} (Docker was passed over: {no_docker})",
            server.description
        ),
        ..server
    });
    described.map_err(|why| format!("no Postgres for tests: {why}; and of Docker: {no_docker}"))
}

async fn given() -> Result<Server, String> {
    let given = variable("TEST_DATABASE_URL")
        .ok_or("TEST_POSTGRES=url needs TEST_DATABASE_URL: set it to postgres://user:password@host/database")?;
    let url = Url::parse(&given)
        .map_err(|_| "TEST_DATABASE_URL should be like postgres://user:password@host/database")?;
    let failed = |error| {
        format!(
            "TEST_DATABASE_URL cannot be used ({error}): start that server, or unset the variable"
        )
    };
    PgConnection::connect(&given)
        .await
        .map_err(failed)?
        .close()
        .await
        .map_err(failed)?;
    let description = format!(
        "TEST_DATABASE_URL, {}",
        url.host_str().unwrap_or("by socket")
    );
    Ok(Server {
        url,
        lifeline: None,
        description,
    })
}

async fn embedded() -> Result<Server, String> {
    let options = Options::default()
        .durability(Durability::None)
        .max_connections(MAX_CONNECTIONS);
    let postgres = options.start().await.map_err(|error| error.to_string())?;
    let url = Url::parse(postgres.url()).expect("the embedded Postgres gives a URL");
    let description = format!("embedded, in {}", postgres.dir().display());
    Ok(Server {
        url,
        lifeline: postgres.release(),
        description,
    })
}

pub(super) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
