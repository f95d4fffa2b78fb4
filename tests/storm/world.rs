//! The parts that a story is played on: the simulator, replicas, a database behind a proxy, and the webhooks between.

use std::sync::Arc;
use std::time::Duration;

use hms_sim::{Sim, SimConfig, WebhookSettings};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

use crate::client::Client;
use crate::dispatcher::{Dispatcher, SECRET};
use crate::journal::Journal;
use crate::plan::{GHOST_MS, Story, room_id};
use crate::proxy::Proxy;
use crate::replica::Replica;

/// How long after a drop a restore is still wanted.
pub(crate) const WINDOW_MS: i64 = 4_000;
/// What a replica may take until it listens, on a machine that is busy.
const START: Duration = Duration::from_secs(30);
/// Within what the service must be well again.
const RECOVERY: Duration = Duration::from_secs(20);
/// How long restores get while everybody stays where they are. Some may wait for a leave that is never reported.
const JOBS: Duration = Duration::from_secs(5);
/// Within what all restores must be done once all rooms have ended: longer than a lease, and than the longest pause.
const JOBS_OF_ENDED: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) story: Story,
    pub(crate) sim: Sim,
    pub(crate) client: Arc<Client>,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) proxy: Mutex<Proxy>,
    pub(crate) journal: Arc<Journal>,
    /// Straight to the database.
    pub(crate) url: String,
    server: Url,
    database: String,
    _stop: DropGuard,
}

/// Why the world did not settle after its faults.
pub(crate) struct Unsettled(pub(crate) &'static str, pub(crate) String);

impl World {
    pub(crate) async fn new(story: Story, server: &Url, template: &str, journal: Journal) -> Self {
        let database = format!("storm_{}", uuid::Uuid::new_v4().simple());
        execute(
            server.as_str(),
            &format!("CREATE DATABASE {database} TEMPLATE {template}"),
        )
        .await;
        let mut url = server.clone();
        url.set_path(&database);
        let (proxy, through) = Proxy::before(url.as_str());
        let (sim, hms_url, stop) = simulator().await;
        let replica = || Arc::new(Replica::new(variables(&story, &through, &hms_url)));
        let replicas: Vec<_> = (0..story.replicas).map(|_| replica()).collect();
        let started = replicas.iter().map(|replica| replica.start(START));
        let started = futures_util::future::join_all(started).await;
        assert!(started.iter().all(|started| *started), "the replicas start");
        let journal = Arc::new(journal);
        let client = Arc::new(Client::new(replicas, Arc::clone(&journal)));
        let dispatcher = Dispatcher::start(story.seed, &sim, Arc::clone(&client)).await;
        Self {
            story,
            sim,
            client,
            dispatcher,
            proxy: Mutex::new(proxy),
            journal,
            url: url.into(),
            server: server.clone(),
            database,
            _stop: stop.drop_guard(),
        }
    }

    /// Ends the faults, delivers what is outstanding, and waits until all is done.
    pub(crate) async fn settle(&self) -> Result<(), Unsettled> {
        self.sim.set_faults([]);
        self.proxy.lock().await.heal();
        for replica in &self.client.replicas {
            if !replica.start(START).await {
                return Err(Unsettled("recovers", "a replica does not start".to_owned()));
            }
        }
        for replica in 0..self.client.replicas.len() {
            let well = async || {
                self.client
                    .get(replica, "/health/ready")
                    .await
                    .is_some_and(|answer| answer.status == 200)
            };
            if !within(RECOVERY, well).await {
                return Err(Unsettled(
                    "recovers",
                    format!("replica {replica} is not ready {RECOVERY:?} after the faults"),
                ));
            }
        }
        let delivered = async || {
            self.sim.pending_deliveries() == 0
                && !self.sim.state().to_string().contains("\"ghost_until\":\"")
        };
        within(Duration::from_secs(5), delivered).await;
        sleep(Duration::from_millis(100)).await;
        if !self.dispatcher.deliver_outstanding(60).await {
            return Err(Unsettled(
                "recovers",
                "an event is refused again and again after the faults".to_owned(),
            ));
        }
        self.last_look().await?;
        let jobs_done = async || self.jobs().await == Some(0);
        let mut done = within(JOBS, jobs_done).await;
        if !done {
            // Nobody is left to wait for.
            for room in 0..2 {
                let _ = self.sim.end_room(&room_id(room), None);
            }
            sleep(Duration::from_millis(100)).await;
            self.dispatcher.find_lost();
            if !self.dispatcher.deliver_outstanding(60).await {
                let how = "an event is refused again and again after the faults".to_owned();
                return Err(Unsettled("recovers", how));
            }
            done = within(JOBS_OF_ENDED, jobs_done).await;
        }
        self.last_look().await?;
        self.dispatcher.replay_some().await;
        self.restore_again().await;
        self.last_look().await?;
        if done {
            Ok(())
        } else {
            Err(Unsettled(
                "jobs",
                format!(
                    "{:?} jobs are left {JOBS_OF_ENDED:?} after the end of all rooms",
                    self.jobs().await
                ),
            ))
        }
    }

    /// Takes snapshots of all rooms, so that all is known.
    async fn last_look(&self) -> Result<(), Unsettled> {
        for room in 0..2 {
            let recovered = async || {
                let answer = self.snapshot(room, room).await;
                answer.is_some_and(|status| status == 200 || status == 404)
            };
            if !within(RECOVERY, recovered).await {
                return Err(Unsettled(
                    "recovers",
                    "a room cannot be fetched after the faults".to_owned(),
                ));
            }
        }
        Ok(())
    }

    async fn jobs(&self) -> Option<i64> {
        let mut connection = PgConnection::connect(&self.url).await.ok()?;
        let count = sqlx::query_scalar("SELECT count(*) FROM restore_jobs")
            .fetch_one(&mut connection)
            .await
            .ok();
        let _ = connection.close().await;
        count
    }

    /// Stops the replicas and drops the database.
    pub(crate) async fn end(self) {
        for replica in &self.client.replicas {
            replica.kill();
        }
        execute(
            self.server.as_str(),
            &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.database),
        )
        .await;
    }
}

async fn simulator() -> (Sim, String, CancellationToken) {
    let sim = Sim::new(SimConfig {
        ghost: Duration::from_millis(GHOST_MS),
        ..SimConfig::new(
            "storm-access-key",
            "storm-secret-of-a-sensible-length".into(),
        )
    });
    sim.set_webhook_settings(WebhookSettings {
        parallel: 64,
        ..WebhookSettings::default()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/v2", listener.local_addr().expect("it is bound"));
    let stop = CancellationToken::new();
    tokio::spawn(hms_sim::serve(listener, sim.clone(), stop.clone()));
    (sim, url, stop)
}

fn variables(story: &Story, database: &str, hms: &str) -> Vec<(String, String)> {
    let variables = [
        ("DATABASE_URL", database.to_owned()),
        ("HMS_BASE_URL", hms.to_owned()),
        ("HMS_ACCESS_KEY", "storm-access-key".to_owned()),
        ("HMS_SECRET", "storm-secret-of-a-sensible-length".to_owned()),
        ("REJOIN_WEBHOOK_SECRETS", SECRET.to_owned()),
        ("REJOIN_AUTO_RESTORE", story.restore.to_owned()),
        ("REJOIN_RESTORE_WINDOW", format!("{WINDOW_MS}ms")),
        ("REJOIN_GHOST", format!("{GHOST_MS}ms")),
        ("REJOIN_UPSTREAM_TIMEOUT", "1s".to_owned()),
    ];
    variables
        .map(|(name, value)| (name.to_owned(), value))
        .into()
}

/// Waits until `condition` holds; whether it did in time.
pub(crate) async fn within(patience: Duration, condition: impl AsyncFn() -> bool) -> bool {
    let start = Instant::now();
    while !condition().await {
        if start.elapsed() > patience {
            return false;
        }
        sleep(Duration::from_millis(50)).await;
    }
    true
}

/// Runs a statement, again where the server is just recovering.
pub(crate) async fn execute(url: &str, statement: &str) {
    let mut last = String::new();
    for _ in 0..100 {
        match try_execute(url, statement).await {
            Ok(()) => return,
            Err(error) => last = error.to_string(),
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("{statement}: {last}");
}

pub(crate) async fn try_execute(url: &str, statement: &str) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(&mut connection)
        .await?;
    connection.close().await
}
