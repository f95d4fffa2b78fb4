//! The store: all the SQL of the service.
//!
//! | module | what lives there |
//! |---|---|
//! | `save` | reports in: a baseline, the rules of [`crate::domain`], a conditional write |
//! | `resume` | the saved state of a user, one or many users in a statement |
//! | `history` | snapshots, in pages |
//! | `presence`, `peers` | connected peers and ends of sessions; look-ups of single peers |
//! | `unseen` | connected peers that nobody has seen for a while |
//! | `restore_jobs` | the queue of automatic restores |
//! | `watches`, `fetch_jobs` | rooms to look at regularly, and peers to fetch at once |
//! | `forwards` | events that are passed on to another endpoint |
//! | `own_events` | rejoin's own events, which are passed on too |
//! | `reconciliations` | signs of life of the replicas, and times without |
//! | `compaction`, `compaction_of_logs` | rows that no answer needs any more |
//! | `partitions` | the partitions of history |
//! | `duties` | what one replica at a time does |
//! | `resume_log` | the log of restores and claims |
//! | `clock` | the clock of this replica, compared with Postgres's |
//! | `schema` | migrations |
//! | `distribute` | distributes the tables over the nodes of a Citus cluster |
//! | `readiness` | whether a save would work, and which server it would go to |
//! | `batch` | group commit: batches without a timer, bounded queues |
//! | `connections` | the pool, and how statements run on connections that may die |
//! | `queries/*.sql` | the long statements, as a DBA can read and `EXPLAIN (GENERIC_PLAN)` them |
//!
//! It knows neither HTTP nor 100ms. No answer comes from a cache: each is read from the primary, or
//! was written on the condition that the primary is as expected.

mod batch;
mod clock;
mod compaction;
mod compaction_of_logs;
mod connections;
mod distribute;
mod duties;
mod error;
mod fetch_jobs;
mod forwards;
mod history;
mod metrics;
mod own_events;
mod partitions;
mod peers;
mod presence;
mod readiness;
mod reconciliations;
mod restore_jobs;
mod resume;
mod resume_log;
mod rows;
mod save;
mod schema;
mod unseen;
mod watches;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use futures_util::future::join_all;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::Notify;

use self::batch::{Batcher, DISTRIBUTED_WORKERS};
pub use self::clock::ClockOffset;
pub use self::compaction::{CompactionPosition, CompactionStep};
pub use self::compaction_of_logs::{ResumePosition, SessionEndPosition};
pub use self::connections::Layout;
use self::connections::{BoundedExecutor, Database, PERMIT_TIMEOUT};
pub use self::duties::Duty;
pub use self::error::{StoreError, UnavailableReason};
pub use self::forwards::TakenForwards;
pub use self::history::{Cursor, HistoryPage, HistoryQuery, Span};
pub(crate) use self::metrics::{CLOCK_OFFSET_SECONDS, METRICS};
use self::own_events::OwnEvents;
pub use self::partitions::PartitionStep;
pub use self::readiness::Readiness;
pub use self::readiness::Server;
pub use self::reconciliations::ReconciliationStep;
use self::resume::ResumeBatch;
pub use self::resume::ResumeQuery;
pub use self::save::Saved;
use self::save::{STRAGGLERS, SaveBatch};
pub use self::unseen::{Unseen, UnseenPeer, UnseenRooms, UnseenSession};
pub use self::watches::{LookResult, NewWatch, WatchCounts, WatchPage};
use crate::domain::{Clock, EventPolicy, Observation, Report, Rules, SavedState};

/// How many statements of each kind run at once, each on a connection of its own. A ping has one
/// more connection.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Batch workers that save.
    pub save_workers: usize,
    /// Batch workers that resume.
    pub resume_workers: usize,
    /// The largest number of items in a batch; 1 is one statement for each request.
    pub max_batch: usize,
    /// What the queues of each kind may hold, in KiB. An item counts as at least one.
    pub queue_capacity_kib: u32,
    /// Whether resumes read presence. Without webhooks none is reported.
    pub presence: bool,
    /// Connections for everything that goes through no batcher: history, ends of sessions, restores
    /// and claims; and as many for work in the background.
    pub other_connections: u32,
    /// How long a connection may be idle: less than load balancers and firewalls allow.
    pub idle_timeout: Duration,
    /// The ordering rules.
    pub rules: Rules,
    /// How the tables are laid out; none to ask the database.
    pub layout: Option<Layout>,
    /// Which own events are queued, if any.
    pub own_events: Option<EventPolicy>,
    /// The time.
    pub clock: Clock,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            save_workers: 2,
            resume_workers: 2,
            max_batch: 512,
            queue_capacity_kib: 32 << 10,
            presence: false,
            other_connections: 2,
            idle_timeout: Duration::from_mins(5),
            rules: Rules::default(),
            layout: None,
            own_events: None,
            clock: Clock::system(),
        }
    }
}

/// The log target of the server's notices.
pub const NOTICES: &str = "sqlx::postgres::notice";

/// The answer for an observation of a peer that was erased before it was saved.
const NOT_SAVED: StoreError = StoreError::Overloaded {
    retry_after: PERMIT_TIMEOUT,
};

/// How many observations at once still count as single items, and no bulk: the peers of one user.
const MAX_SINGLE_ITEMS: usize = 8;

/// The store. Cheap to clone; clones share connections and queues.
#[derive(Clone)]
pub struct Store {
    database: Database,
    saves: Arc<Batcher<SaveBatch>>,
    resumes: Arc<Batcher<ResumeBatch>>,
    histories: BoundedExecutor,
    session_ends: BoundedExecutor,
    /// Events that are only passed on.
    forwards: BoundedExecutor,
    /// How own events are queued, if they are.
    own_events: Option<OwnEvents>,
    /// Notified when an event to pass on is queued through this replica.
    forward_queued: Arc<Notify>,
    /// Notified when a session ends through this replica.
    session_ended: Arc<Notify>,
    /// Restores and claims.
    restores: BoundedExecutor,
    background: BoundedExecutor,
    pings: BoundedExecutor,
    /// Whether it was found that the schema is current. It stays so.
    schema_is_current: Arc<AtomicBool>,
}

impl Store {
    /// A store on this primary. Connects when first used. Must be called within a tokio runtime.
    pub fn new(options: PgConnectOptions, config: &StoreConfig) -> Self {
        let other_connections = config.other_connections as usize;
        let workers = [config.save_workers, config.resume_workers];
        let workers = workers.map(|workers| workers.max(DISTRIBUTED_WORKERS));
        let max_idle = workers.iter().sum::<usize>() + 5 * other_connections + STRAGGLERS + 1;
        let database = Database::new(options, max_idle, config.idle_timeout, config.layout);
        let forward_queued = Arc::new(Notify::new());
        let own_events = config
            .own_events
            .map(|policy| OwnEvents::new(policy, forward_queued.clone()));
        let save_batch = SaveBatch::new(
            database.clone(),
            config.rules.clone(),
            config.clock.clone(),
            own_events.clone(),
        );
        let resume_batch = ResumeBatch {
            database: database.clone(),
            presence: config.presence,
        };
        let executor = || {
            let overloaded = StoreError::Overloaded {
                retry_after: PERMIT_TIMEOUT / 2,
            };
            BoundedExecutor::new(database.clone(), other_connections, overloaded)
        };
        // The only permit is taken by a ping that is not answered.
        let not_answered = UnavailableReason::AnswerTimeout(PERMIT_TIMEOUT);
        Self {
            saves: Arc::new(Batcher::start(save_batch, config.save_workers, config)),
            resumes: Arc::new(Batcher::start(resume_batch, config.resume_workers, config)),
            histories: executor(),
            session_ends: executor(),
            forwards: executor(),
            own_events,
            forward_queued,
            session_ended: Arc::default(),
            restores: executor(),
            background: executor(),
            pings: BoundedExecutor::new(database.clone(), 1, not_answered),
            schema_is_current: Arc::default(),
            database,
        }
    }

    /// The same store for background work, which takes no permit and no connection that requests
    /// wait for.
    #[must_use]
    pub fn in_background(&self) -> Self {
        Self {
            histories: self.background.clone(),
            session_ends: self.background.clone(),
            restores: self.background.clone(),
            ..self.clone()
        }
    }

    /// Saves an observation. When this returns, it is durable and visible to every replica.
    ///
    /// It is saved even if the caller stops waiting.
    ///
    /// # Errors
    /// [`StoreError`]; after `Unavailable` it may have been saved, and saving it again is harmless.
    pub async fn save(&self, observation: Observation) -> Result<Saved, StoreError> {
        self.report(observation.into()).await?.ok_or(NOT_SAVED)
    }

    /// Saves a report of a peer, as [`Store::save`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn report(&self, report: Report) -> Result<Option<Saved>, StoreError> {
        let user_id = report.key().user_id.clone();
        self.saves.submit(user_id.as_str(), Box::new(report)).await
    }

    /// Saves many observations and returns one result for each, in order. More than a few are
    /// bulk: they wait for capacity of their own, and let others go first.
    pub async fn save_all(&self, observations: Vec<Report>) -> Vec<Result<Saved, StoreError>> {
        let is_bulk = observations.len() > MAX_SINGLE_ITEMS;
        join_all(observations.into_iter().map(async |report| {
            let user_id = report.key().user_id.clone();
            let report = Box::new(report);
            let saved = if is_bulk {
                self.saves.submit_bulk(user_id.as_str(), report).await
            } else {
                self.saves.submit(user_id.as_str(), report).await
            };
            saved?.ok_or(NOT_SAVED)
        }))
        .await
    }

    /// The saved state of a user: that of the peer whose metadata changed last. It is empty after a
    /// clear, and none where no peer ever had any.
    ///
    /// Reads an index entry and a row, however much history, rooms and peers the user has.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn resume(&self, query: ResumeQuery) -> Result<Option<SavedState>, StoreError> {
        let user_id = query.user_id.clone();
        self.resumes.submit(user_id.as_str(), query).await
    }

    /// A page of history, newest first. Its cost grows with the page and the months stored; with
    /// [`Span::At`], with the number of the user's peers and the rows of each.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn history(&self, query: &HistoryQuery) -> Result<HistoryPage, StoreError> {
        self.histories.execute(query.clone()).await
    }

    /// Completes when events to pass on were queued through this replica since the last call.
    pub async fn forward_queued(&self) {
        self.forward_queued.notified().await;
    }

    /// Events to pass on are queued, and durable.
    pub fn wake_forwards(&self) {
        self.forward_queued.notify_one();
    }

    /// The number of connections: all, and those in use.
    pub fn connections(&self) -> (u32, u32) {
        self.database.connections()
    }
}
