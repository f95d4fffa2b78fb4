//! Whether a save would work, and which server it would go to.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Connection, query_as, query_scalar};
use tokio::time::timeout;

use super::connections::{IS_PRIMARY, Layout, Statement};
use super::schema::missing_migration;
use super::{Store, StoreError, UnavailableReason};

/// How long all nodes together may take to answer.
const NODE_TIMEOUT: Duration = Duration::from_secs(1);
/// What is said of a node that does not answer in that time.
const UNKNOWN_NODE: &str = "unknown";

/// The server of the database, and as whom the service uses it.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Server {
    /// The address.
    #[sqlx(skip)]
    address: String,
    /// The version of Postgres.
    version: String,
    /// The database.
    database: String,
    /// The schema that tables without one are in.
    schema: Option<String>,
    /// The role.
    role: String,
    /// The encoding of the database.
    encoding: String,
    /// Whether it is a standby.
    is_standby: bool,
    /// Whether there is a pooler in between.
    #[sqlx(skip)]
    has_pooler: bool,
    /// Its place where Citus has distributed the tables.
    #[sqlx(skip)]
    place: Place,
}

/// The place of a server in a Citus cluster that has our tables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    /// There is no such cluster.
    #[default]
    OneServer,
    Coordinator,
    Worker,
}

impl Server {
    /// Checks that the database can be used at all.
    ///
    /// # Errors
    /// When it cannot store every text, or has only a part of the tables.
    pub fn check(&self) -> anyhow::Result<()> {
        let Self {
            database, encoding, ..
        } = self;
        anyhow::ensure!(
            encoding == "UTF8",
            "the database {database} is encoded in {encoding}, but should be in UTF8 \
             (CREATE DATABASE {database} ENCODING 'UTF8' TEMPLATE template0)"
        );
        anyhow::ensure!(
            self.place != Place::Worker,
            "this server is a worker of a Citus cluster: DATABASE_URL should lead to the coordinator"
        );
        Ok(())
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            address,
            version,
            database,
            role,
            ..
        } = self;
        let schema = self.schema.as_deref().unwrap_or("(none)");
        let standby = if self.is_standby { " (a standby)" } else { "" };
        let pooler = if self.has_pooler {
            " through a pooler"
        } else {
            ""
        };
        let distributed = match self.place {
            Place::OneServer => "",
            Place::Coordinator | Place::Worker => ", tables distributed by Citus",
        };
        write!(
            f,
            "Postgres {version}{standby} at {address}{pooler}{distributed}, database {database}, schema {schema}, role {role}"
        )
    }
}

/// That a save would work, for most users at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// How the tables are laid out.
    pub layout: Layout,
    /// The nodes that do not answer: whose users they have are not served.
    pub nodes_down: Vec<String>,
}

impl Store {
    /// Whether a save would work, as [`Store::ping`], and for whom it would not.
    ///
    /// # Errors
    /// [`StoreError`] where it would work for nobody.
    pub async fn readiness(&self) -> Result<Readiness, StoreError> {
        self.ping().await?;
        let layout = self.database.layout();
        let nodes_down = match layout {
            Layout::OneServer => Vec::new(),
            Layout::Distributed => self.nodes_down().await,
        };
        Ok(Readiness { layout, nodes_down })
    }

    async fn nodes_down(&self) -> Vec<String> {
        match timeout(NODE_TIMEOUT, self.pings.execute(NodesDown)).await {
            Ok(Ok(nodes)) => nodes,
            // It is frozen, or unreachable.
            _ => vec![UNKNOWN_NODE.to_owned()],
        }
    }

    /// Whether a save would work: the server answers and accepts writes, its schema is current, and
    /// a pooler in between, if any, can be used.
    ///
    /// # Errors
    /// [`StoreError`] where it would not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let ping = Ping {
            schema_is_current: self.schema_is_current.clone(),
        };
        match self.pings.execute(ping).await? {
            None => Ok(self.refuse_pooler().await?),
            Some(reason) => {
                self.database.clear_idle();
                Err(reason.into())
            }
        }
    }

    /// The server, as it describes itself.
    ///
    /// # Errors
    /// [`StoreError`]; [`UnavailableReason::Pooler`] where a pooler in between cannot be used.
    pub async fn server(&self) -> Result<Server, StoreError> {
        let mut connection = self.database.connect().await?;
        let server: Server = query_as(
            "SELECT current_setting('server_version') AS version, current_database()::text AS database,
                    current_schema()::text AS schema, current_user::text AS role,
                    current_setting('server_encoding') AS encoding, pg_is_in_recovery() AS is_standby",
        )
        .fetch_one(&mut connection)
        .await?;
        self.refuse_pooler().await?;
        let place = match self.database.layout() {
            Layout::OneServer => Place::OneServer,
            Layout::Distributed => place(&mut connection).await?,
        };
        // What was asked is answered.
        let _ = connection.close().await;
        let address = self.database.address();
        Ok(Server {
            address,
            has_pooler: self.database.has_pooler(),
            place,
            ..server
        })
    }
}

impl Store {
    /// Fails where there is a pooler in between that cannot be used, and for no other reason.
    pub(super) async fn refuse_pooler(&self) -> Result<(), UnavailableReason> {
        match self.database.check_pooler().await {
            Err(StoreError::Unavailable(reason @ UnavailableReason::Pooler)) => Err(reason),
            _ => Ok(()),
        }
    }
}

async fn place(connection: &mut PgConnection) -> Result<Place, sqlx::Error> {
    let is_coordinator = query_scalar("SELECT citus_is_coordinator()");
    Ok(if is_coordinator.fetch_one(connection).await? {
        Place::Coordinator
    } else {
        Place::Worker
    })
}

/// Asks each node of the cluster for an answer.
struct NodesDown;

impl Statement for NodesDown {
    type Output = Vec<String>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
        query_scalar(
            "SELECT nodename || ':' || nodeport FROM pg_dist_node
             WHERE isactive AND noderole = 'primary' AND NOT citus_check_connection_to_node(nodename, nodeport)
             ORDER BY 1",
        )
        .fetch_all(connection)
        .await
    }
}

struct Ping {
    schema_is_current: Arc<AtomicBool>,
}

impl Statement for Ping {
    /// Why a save would not work.
    type Output = Option<UnavailableReason>;

    async fn run(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Option<UnavailableReason>, sqlx::Error> {
        let is_primary: bool = query_scalar(IS_PRIMARY).fetch_one(&mut *connection).await?;
        if !is_primary {
            return Ok(Some(UnavailableReason::ReadOnly));
        }
        if self.schema_is_current.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let missing = missing_migration(connection).await?;
        self.schema_is_current
            .store(missing.is_none(), Ordering::Relaxed);
        Ok(missing.map(UnavailableReason::SchemaOutdated))
    }
}
