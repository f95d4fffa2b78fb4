//! How the tables are laid out: on one server, or distributed by Citus.

use sqlx::postgres::PgConnection;
use sqlx::query_scalar;

/// Where the rows of a user are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// All rows are on one server: one statement serves many users.
    OneServer,
    /// Citus has distributed the tables by user: each statement names one user, so that it goes to the one node that has
    /// that user.
    Distributed,
}

/// Parameters of Citus, and a plan for each execution: a plan for any user is none for one node. What a transaction sets
/// locally counts on the nodes as well, and a node that does not answer is given up in the time that a statement has.
pub(super) const SET_DISTRIBUTED: &str = "SET plan_cache_mode = auto; SET citus.propagate_set_commands = 'local'; \
    SET citus.node_connection_timeout = '2s'";
/// The same within a transaction.
pub(super) const SET_LOCAL_DISTRIBUTED: &str = "SET LOCAL plan_cache_mode = auto; \
    SET LOCAL citus.node_connection_timeout = '2s'; SET LOCAL citus.propagate_set_commands = 'local'";

/// Whether the database has Citus.
pub(in crate::store) const HAS_CITUS: &str =
    "to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL";

/// Asks how the tables are laid out, where there is Citus. A database without our tables is on one server.
pub(super) async fn layout(connection: &mut PgConnection) -> Result<Layout, sqlx::Error> {
    let is_distributed = "SELECT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = to_regclass('peers') AND partmethod = 'h')";
    let is_distributed: bool = query_scalar(is_distributed).fetch_one(connection).await?;
    Ok(if is_distributed {
        Layout::Distributed
    } else {
        Layout::OneServer
    })
}
