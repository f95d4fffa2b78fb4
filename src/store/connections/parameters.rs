//! The parameters of Postgres that the service sets, and how a connection gets them.
//!
//! Postgres takes them as options while a connection is opened, and keeps them as long as it is
//! open. A pooler takes no options. Behind it, one backend of the server may serve many clients in
//! turn, so that a parameter that is set for longer than a transaction is left to the next client.

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Executor, SqlSafeStr, SqlStr};
use uuid::Uuid;

use super::layout::{HAS_CITUS, Layout, SET_DISTRIBUTED, SET_LOCAL_DISTRIBUTED, layout};
use crate::store::error::code_of;

/// Every statement of the service is a look-up by index. A generic plan stays one for any
/// arguments. Postgres prefers a new plan for each array, and planning takes longer than running.
///
/// The statement timeout is a little longer than ours. It makes the server give up statements that
/// nobody waits for any more: connections would pile up on the server behind a lock that is held
/// for long. The server also ends a transaction whose replica is gone without a word, as with its
/// machine: its rows would stay locked until the server finds that out, which takes hours by default.
const PARAMETERS: [(&str, &str); 5] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("jit", "off"),
    ("statement_timeout", "6s"),
    ("idle_in_transaction_session_timeout", "7s"),
];
/// Begins a transaction with the same parameters.
const BEGIN: &str = "BEGIN; SET LOCAL plan_cache_mode = force_generic_plan; \
    SET LOCAL enable_seqscan = off; SET LOCAL jit = off; SET LOCAL statement_timeout = '6s'; \
    SET LOCAL idle_in_transaction_session_timeout = '7s'";
/// Begins a transaction with the parameters of the service.
pub(super) fn begin(layout: Layout) -> SqlStr {
    match layout {
        Layout::OneServer => BEGIN.into_sql_str(),
        Layout::Distributed => {
            AssertSqlSafe(format!("{BEGIN}; {SET_LOCAL_DISTRIBUTED}")).into_sql_str()
        }
    }
}

/// One more parameter, which has another value for each connection: where a connection finds its
/// own, its backend serves no other.
const MARKER: &str = "rejoin.connection";
/// Whether a server accepts writes: it is neither a standby nor set to read-only.
pub(in crate::store) const IS_PRIMARY: &str =
    "SELECT NOT pg_is_in_recovery() AND NOT current_setting('transaction_read_only')::boolean";

/// For how long a connection has the parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parameters {
    /// As long as it is open.
    OfConnection,
    /// Only within a transaction that sets them: there is a pooler in between.
    OfTransaction,
}

/// The value of [`MARKER`] for one connection.
pub(super) struct Marker(Uuid);

impl Marker {
    pub(super) fn new() -> Self {
        Self(Uuid::new_v4())
    }

    /// The options of its connection, with the parameters.
    pub(super) fn with_parameters(&self, options: &PgConnectOptions) -> PgConnectOptions {
        let options = options.clone().options(PARAMETERS);
        options.options([(MARKER, self.0)])
    }
}

/// Whether the other end takes no options: a pooler. `PgBouncer` has 08P01 for that, others 0A000.
pub(super) fn refuses_options(error: &sqlx::Error) -> bool {
    code_of(error).is_some_and(|code| code == "08P01" || code == "0A000")
}

/// What a new connection leads to.
pub(super) struct Opened {
    /// Whether the server accepts writes.
    pub(super) is_primary: bool,
    pub(super) parameters: Parameters,
    pub(super) layout: Layout,
}

/// Asks the server. A pooler may also leave options out without an error. `known` is the layout, if it
/// is not to be asked for.
pub(super) async fn opened(
    connection: &mut PgConnection,
    marker: Option<&Marker>,
    known: Option<Layout>,
) -> Result<Opened, sqlx::Error> {
    let has_marker = "current_setting('rejoin.connection', true) IS NOT DISTINCT FROM $1";
    let sql = format!("{IS_PRIMARY}, {has_marker}, {HAS_CITUS}");
    // Prepared under a name: what has none, a pooler may execute on another backend.
    let (is_primary, has_marker, has_citus) =
        sqlx::query_as::<_, (bool, bool, bool)>(AssertSqlSafe(sql))
            .bind(marker.map_or_else(String::new, |marker| marker.0.to_string()))
            .fetch_one(&mut *connection)
            .await?;
    let layout = match known {
        Some(layout) => layout,
        None if has_citus => layout(connection).await?,
        None => Layout::OneServer,
    };
    let parameters = match marker {
        Some(_) if has_marker => Parameters::OfConnection,
        _ => Parameters::OfTransaction,
    };
    if layout == Layout::Distributed && parameters == Parameters::OfConnection {
        connection.execute(SET_DISTRIBUTED).await?;
    }
    Ok(Opened {
        is_primary,
        parameters,
        layout,
    })
}
