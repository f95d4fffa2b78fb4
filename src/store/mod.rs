//! The store: all the SQL of the service, one named function a statement.
//!
//! | file | what |
//! |---|---|
//! | `lanes` | group commit: batches without a timer, bounded queues |
//! | `save`, `fold`, `statements`, `columns` | observations in: read, fold by the rules of [`crate::domain`], write on a condition |
//! | `resume` | the state of a user, one or many in a statement |
//! | `history` | rows of history, paged |
//! | `schema` | migrations and partitions |
//! | `database` | connections that may die |
//!
//! Knows nothing of HTTP or of 100ms. Nothing here is cached: every answer is read from the primary.

mod columns;
mod database;
mod error;
mod fold;
mod history;
mod lanes;
mod presence;
mod resume;
mod rows;
mod save;
mod schema;
mod statements;

use std::sync::Arc;

use futures_util::future::join_all;
use sqlx::postgres::PgConnectOptions;

use crate::domain::{Label, Observation, Report, RoomId, SavedState, Timestamp};
use database::{Database, run};
pub use error::StoreError;
pub use fold::Saved;
pub use history::{Cursor, HistoryPage, HistoryQuery, Span};
use lanes::Lanes;
use resume::ResumeBatch;
pub use resume::ResumeQuery;
use save::SaveBatch;

/// How many statements of each kind are in flight, and how many connections there are for all else.
#[derive(Debug, Clone, Copy)]
pub struct StoreConfig {
    /// Lanes that save.
    pub save_lanes: usize,
    /// Lanes that resume.
    pub resume_lanes: usize,
    /// How many items one statement takes at most; 1 is a query for each request.
    pub max_batch: usize,
    /// Whether resumes tell the presence: nobody tells it to us without webhooks.
    pub presence: bool,
    /// Connections for history, health and migrations.
    pub other_connections: u32,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { save_lanes: 2, resume_lanes: 2, max_batch: 512, presence: false, other_connections: 4 }
    }
}

/// The store. Cheap to clone; clones share connections and lanes.
#[derive(Clone)]
pub struct Store {
    database: Database,
    saves: Arc<Lanes<SaveBatch>>,
    resumes: Arc<Lanes<ResumeBatch>>,
}

impl Store {
    /// A store on this primary. Connects when first used. Must be called within a tokio runtime.
    pub fn new(options: PgConnectOptions, config: StoreConfig) -> Self {
        let lanes = u32::try_from(config.save_lanes + config.resume_lanes).expect("a handful");
        let database = Database::new(options, lanes + config.other_connections);
        Self {
            saves: Arc::new(Lanes::start(SaveBatch(database.clone()), config.save_lanes, config.max_batch)),
            resumes: Arc::new(Lanes::start(
                ResumeBatch { database: database.clone(), presence: config.presence },
                config.resume_lanes,
                config.max_batch,
            )),
            database,
        }
    }

    /// Keeps an observation. When this returns, it is durable and visible to every replica.
    ///
    /// It is kept even if the caller stops waiting.
    ///
    /// # Errors
    /// [`StoreError`]; after `Unavailable` it may or may not have been kept, and saving it again is harmless.
    pub async fn save(&self, observation: Observation) -> Result<Saved, StoreError> {
        self.report(observation.into()).await
    }

    /// Keeps what a webhook told of a peer. As [`Store::save`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn report(&self, report: Report) -> Result<Saved, StoreError> {
        let user_id = report.observation.key.user_id.clone();
        self.saves.submit(user_id.as_str(), report).await
    }

    /// Keeps many observations, one result each, in order. Waits for room in the queue instead of being refused.
    pub async fn save_all(&self, observations: Vec<Observation>) -> Vec<Result<Saved, StoreError>> {
        join_all(observations.into_iter().map(async |observation| {
            let user_id = observation.key.user_id.clone();
            self.saves.submit_patiently(user_id.as_str(), observation.into()).await
        }))
        .await
    }

    /// The state of the peer whose metadata changed last, or none where no peer ever had any. It is empty after a clear.
    ///
    /// Reads an index entry and a row, however much history, rooms and peers the user has.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn resume(&self, query: ResumeQuery) -> Result<Option<SavedState>, StoreError> {
        let user_id = query.user_id.clone();
        self.resumes.submit(user_id.as_str(), query).await
    }

    /// Keeps the end of a session, or of a room, for all of its peers that nobody saw later.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn end_session(
        &self,
        room_id: &RoomId,
        session_id: Option<&Label>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        run!(self.database, connection => presence::end_session(connection, room_id, session_id, at))
    }

    /// A page of history, newest first. Its cost grows with the page and the months kept; with [`Span::At`], with the
    /// number of the user's peers and the rows of each.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn history(&self, query: &HistoryQuery) -> Result<HistoryPage, StoreError> {
        run!(self.database, connection => history::history(connection, query))
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// [`StoreError`] where it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        run!(self.database, connection => sqlx::Connection::ping(connection))
    }

    /// Connections: all, and those in use.
    pub fn connections(&self) -> (u32, u32) {
        let pool = self.database.pool();
        let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
        (pool.size(), pool.size().saturating_sub(idle))
    }
}
