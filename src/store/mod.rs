//! The store: all the SQL of the service, one named function a statement.
//!
//! | file | what |
//! |---|---|
//! | `lanes` | group commit: batches without a timer, bounded queues |
//! | `save`, `fold`, `statements`, `write`, `columns` | observations in: read, fold by the rules of [`crate::domain`], write on a condition |
//! | `memory` | what was written last: what a write may expect to find, instead of reading it |
//! | `resume` | the state of a user, one or many in a statement |
//! | `history` | rows of history, paged |
//! | `restores` | the log of restores and claims, and the queue of restores that joins cause |
//! | `schema` | migrations and partitions |
//! | `database` | connections that may die |
//!
//! Knows nothing of HTTP or of 100ms. No answer comes out of a cache: each is read from the primary, or was written on the
//! condition that the primary is as expected.

mod batch;
mod connections;
mod error;
mod history;
mod presence;
mod restore_jobs;
mod resume;
mod rows;
mod save;
mod schema;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::domain::{Label, Observation, Report, RoomId, SavedState, Timestamp};
use batch::Lanes;
use connections::{Database, run};
pub use error::StoreError;
pub use history::{Cursor, HistoryPage, HistoryQuery, Span};
use resume::ResumeBatch;
pub use resume::ResumeQuery;
use save::SaveBatch;
pub use save::Saved;

/// How long what goes through no lane waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(2);

/// How many statements of each kind are in flight, each on a connection of its own. Pings have one more.
#[derive(Debug, Clone, Copy)]
pub struct StoreConfig {
    /// Lanes that save.
    pub save_lanes: usize,
    /// Lanes that resume.
    pub resume_lanes: usize,
    /// How many items one statement takes at most; 1 is a query for each request.
    pub max_batch: usize,
    /// How much waits at most for each kind of statement, in KiB; an item counts for at least one.
    pub max_waiting_kib: u32,
    /// Whether resumes tell the presence: nobody tells it to us without webhooks.
    pub presence: bool,
    /// Connections for history, the ends of sessions, restores and claims.
    pub other_connections: u32,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            save_lanes: 2,
            resume_lanes: 2,
            max_batch: 512,
            max_waiting_kib: 32 << 10,
            presence: false,
            other_connections: 4,
        }
    }
}

/// The store. Cheap to clone; clones share connections and lanes.
#[derive(Clone)]
pub struct Store {
    database: Database,
    saves: Arc<Lanes<SaveBatch>>,
    resumes: Arc<Lanes<ResumeBatch>>,
    others: Arc<Semaphore>,
    pings: Arc<Semaphore>,
}

impl Store {
    /// A store on this primary. Connects when first used. Must be called within a tokio runtime.
    pub fn new(options: PgConnectOptions, config: StoreConfig) -> Self {
        let others = config.other_connections as usize;
        let database = Database::new(
            options,
            config.save_lanes + config.resume_lanes + others + 1,
        );
        Self {
            saves: Arc::new(Lanes::start(
                SaveBatch::new(database.clone()),
                config.save_lanes,
                &config,
            )),
            resumes: Arc::new(Lanes::start(
                ResumeBatch {
                    database: database.clone(),
                    presence: config.presence,
                },
                config.resume_lanes,
                &config,
            )),
            others: Arc::new(Semaphore::new(others)),
            pings: Arc::new(Semaphore::new(1)),
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
        let user_id = report.key().user_id.clone();
        self.saves.submit(user_id.as_str(), Box::new(report)).await
    }

    /// Keeps many observations, one result each, in order. Waits for room in the queue instead of being refused.
    pub async fn save_all(&self, observations: Vec<Observation>) -> Vec<Result<Saved, StoreError>> {
        join_all(observations.into_iter().map(async |observation| {
            let user_id = observation.key.user_id.clone();
            self.saves
                .submit_patiently(user_id.as_str(), Box::new(observation.into()))
                .await
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
        let (database, room, session) =
            (self.database.clone(), room_id.clone(), session_id.cloned());
        let end = async move {
            run!(database, connection => presence::end_session(connection, &room, session.as_ref(), at))
        };
        self.in_turn(end).await
    }

    /// A page of history, newest first. Its cost grows with the page and the months kept; with [`Span::At`], with the
    /// number of the user's peers and the rows of each.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn history(&self, query: &HistoryQuery) -> Result<HistoryPage, StoreError> {
        let (database, query) = (self.database.clone(), query.clone());
        self.in_turn(
            async move { run!(database, connection => history::history(connection, &query)) },
        )
        .await
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// [`StoreError`] where it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let database = self.database.clone();
        let silent = StoreError::Unavailable(format!(
            "it has not answered another ping for {TURN_TIMEOUT:?}"
        ));
        let ping = async move { run!(database, connection => sqlx::Connection::ping(connection)) };
        in_turn(&self.pings, silent, ping).await
    }

    /// Runs what goes through no lane, when it is its turn.
    async fn in_turn<T: Send + 'static>(
        &self,
        statement: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        in_turn(
            &self.others,
            StoreError::Overloaded {
                retry_after: TURN_TIMEOUT / 2,
            },
            statement,
        )
        .await
    }

    /// Connections: all, and those in use.
    pub fn connections(&self) -> (u32, u32) {
        self.database.connections()
    }
}

/// Runs `statement` when it is its turn, and to its end even if the caller stops waiting: as long as the server works on
/// it, its turn is taken. `without` a turn in time, that is the answer.
async fn in_turn<T: Send + 'static>(
    turns: &Arc<Semaphore>,
    without: StoreError,
    statement: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    let Ok(Ok(turn)) = timeout(TURN_TIMEOUT, turns.clone().acquire_owned()).await else {
        return Err(without);
    };
    let statement = async move {
        let _turn = turn;
        statement.await
    };
    tokio::spawn(statement).await.unwrap_or_else(|_| {
        Err(StoreError::Unavailable(
            "the statement was dropped".to_owned(),
        ))
    })
}
