//! The roles of `docs/operations.md`, created as the page says.

use std::time::Duration;

use rejoin::domain::{
    EventPolicy, ForwardResult, GiveUpReason, LookOutcome, MIN_KEEP_PEERS, Reconciled, Requester,
    RestoreOutcome, ResumeRecord, RoomId, WatchInterval,
};
use rejoin::store::{
    Duty, LookResult, NewWatch, PartitionStep, ReconciliationStep, ResumeQuery, Span, Store,
    StoreConfig, Unseen, UnseenRooms, WatchPage,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use url::Url;
use uuid::Uuid;

use super::odd_rows;
use super::pages::{self, OPERATIONS};
use crate::support::postgres::{self, Database};
use crate::support::store::{history_within, make_partitions, saved_state};

/// A database with the three roles. Their names are unique, because roles belong to the whole
/// server.
pub(super) struct Roles {
    suffix: String,
    // Dropped before the roles, which own its contents.
    database: Option<Database>,
}

impl Roles {
    /// Follows the recipe from an empty database to a migrated one.
    pub(super) async fn new() -> Self {
        let database = Some(postgres::empty_database().await);
        let roles = Self {
            suffix: format!("_{}", Uuid::new_v4().simple()),
            database,
        };
        let blocks = pages::sql(OPERATIONS, "Roles");
        let [create, connect, grant] = blocks.as_slice() else {
            panic!("the recipe has three blocks")
        };
        let create = create.replace(
            "CREATE DATABASE rejoin OWNER",
            "ALTER DATABASE rejoin OWNER TO",
        );
        roles.run(None, &create).await.unwrap();
        roles.run(None, connect).await.unwrap();
        let owner = roles.store("rejoin_owner");
        owner.migrate().await.unwrap();
        make_partitions(&owner, odd_rows::at("00:00:00")).await;
        roles.run(Some("rejoin_owner"), grant).await.unwrap();
        roles
    }

    fn database(&self) -> &Database {
        self.database.as_ref().expect("there until the end")
    }

    /// A URL whose sessions act as the role, without a password of its own.
    fn url(&self, role: Option<&str>) -> Url {
        let mut url = Url::parse(self.database().url()).unwrap();
        if let Some(role) = role {
            url.query_pairs_mut()
                .append_pair("options", &format!("-c role={role}{}", self.suffix));
        }
        url
    }

    pub(super) async fn connect(&self, role: Option<&str>) -> PgConnection {
        PgConnection::connect(self.url(role).as_str())
            .await
            .unwrap()
    }

    pub(super) fn store(&self, role: &str) -> Store {
        // With presence, as with webhooks: a resume then reads more.
        let lanes = StoreConfig {
            save_workers: 2,
            resume_workers: 1,
            other_connections: 2,
            ..StoreConfig::default()
        };
        let config = StoreConfig {
            presence: true,
            own_events: Some(EventPolicy {
                with_metadata: true,
            }),
            ..lanes
        };
        Store::new(self.url(Some(role)).as_str().parse().unwrap(), &config)
    }

    /// Runs statements of the page, with this test's names for the database and the roles.
    pub(super) async fn run(&self, role: Option<&str>, sql: &str) -> Result<(), sqlx::Error> {
        let name = Url::parse(self.database().url()).unwrap().path()[1..].to_owned();
        let mut sql = sql.replace("DATABASE rejoin ", &format!("DATABASE {name} "));
        for role in ["rejoin_owner", "rejoin_service", "rejoin_reader"] {
            sql = sql.replace(role, &format!("{role}{}", self.suffix));
        }
        let mut connection = self.connect(role).await;
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut connection)
            .await
            .map(|_| ())
    }
}

impl Drop for Roles {
    fn drop(&mut self) {
        let mut server = self.url(None);
        server.set_path("postgres");
        self.database = None;
        let drops: String = ["rejoin_reader", "rejoin_service", "rejoin_owner"]
            .map(|role| format!("DROP ROLE IF EXISTS {role}{};", self.suffix))
            .concat();
        let work = async move {
            if let Ok(mut connection) = PgConnection::connect(server.as_str()).await {
                let _ = sqlx::raw_sql(AssertSqlSafe(drops))
                    .execute(&mut connection)
                    .await;
            }
        };
        // On another thread, because this one may be running the runtime of the test.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be made");
        let _ = std::thread::spawn(move || runtime.block_on(work)).join();
    }
}

#[tokio::test]
async fn the_service_role_can_do_all_that_the_service_does() {
    let roles = Roles::new().await;
    let service = roles.store("rejoin_service");
    let user = odd_rows::save(&service).await;
    assert!(saved_state(&service, &user).await.is_some());
    for span in [
        Span::Between {
            since: None,
            until: None,
        },
        Span::At(odd_rows::at("14:03:00")),
    ] {
        assert!(!history_within(&service, &user, span).await.is_empty());
    }
    let room = RoomId::parse("elsewhere").unwrap();
    service
        .end_session(&room, None, odd_rows::at("15:00:00"), None)
        .await
        .unwrap();
    watch_and_fetch(&service, &room).await;
    pass_on(&service).await;
    // The rows saved above include restores and claims; this is a job from its join to its end.
    let now = odd_rows::at("15:00:00");
    service.report(odd_rows::joined_again(now)).await.unwrap();
    let jobs = service.take_restore_jobs(now, now, 10).await.unwrap();
    let [job] = jobs.as_slice() else {
        panic!("{jobs:?}")
    };
    service.postpone_restore_job(job, now, true).await.unwrap();
    let state = service.resume(ResumeQuery::of_user(&user)).await.unwrap();
    let found = service.find_sent_restores(&state.unwrap()).await;
    assert!(!found.unwrap());
    let record = ResumeRecord {
        id: job.record_id(),
        at: now,
        user_id: user.clone(),
        state: None,
        to: Some(job.key.clone()),
        requester: Requester::Join,
    };
    let begun = service.begin_automatic_restore(record.clone()).await;
    begun.unwrap();
    let gave_up = RestoreOutcome::GaveUp(GiveUpReason::NothingSaved);
    let finished = service.finish_restore_job(job, record, gave_up).await;
    finished.unwrap();
    assert_eq!(service.take_restore_jobs(now, now, 10).await.unwrap(), []);
    service.was_restored_to(&job.key).await.unwrap();
    service.compact_peers(MIN_KEEP_PEERS, None).await.unwrap();
    let ends = service.compact_session_ends(MIN_KEEP_PEERS, None);
    ends.await.unwrap();
    service.compact_resumes(MIN_KEEP_PEERS, None).await.unwrap();
    service.delete_old_reconciliations().await.unwrap();
    let day = Duration::from_hours(24);
    assert!(service.take_duty(Duty::Compaction, day, day).await.unwrap());
    assert!(service.renew_duty(Duty::Compaction, day).await.unwrap());
    service.ping().await.unwrap();
    // Months that do not exist yet: the functions make and drop them with their owner's rights.
    let later = odd_rows::at("00:00:00").shifted(chrono::TimeDelta::days(400));
    make_partitions(&service, later).await;
    let dropped = service.drop_partition(day).await.unwrap();
    assert!(matches!(dropped, PartitionStep::Done(_)), "{dropped:?}");
    service.delete_late_history(day).await.unwrap();

    for forbidden in [
        "TRUNCATE peers",
        "DELETE FROM compactions",
        "DELETE FROM resumes",
        "UPDATE resumes SET claimed_by = 'me'",
        "TRUNCATE snapshots",
        "DROP TABLE snapshots",
        "CREATE TABLE mine ()",
        "CREATE TEMP TABLE mine ()",
        "ALTER TABLE peers ADD COLUMN mine int",
    ] {
        assert_denied(&roles, "rejoin_service", forbidden).await;
    }
}

/// What the service does to pass events on, from their receipt to their end.
async fn pass_on(service: &Store) {
    let lease = Duration::from_mins(1);
    service
        .queue_forward(odd_rows::forward("an-arena"))
        .await
        .unwrap();
    let mut passed_on = 0;
    loop {
        let taken = service.take_forwards(9, lease).await.unwrap();
        let results = taken.forwards.into_iter().map(|forward| ForwardResult {
            id: forward.event.id,
            attempt: forward.attempt,
            error: None,
            pause: None,
        });
        let results: Vec<ForwardResult> = results.collect();
        if results.is_empty() {
            break;
        }
        passed_on += results.len();
        assert!(service.settle_forwards(results).await.unwrap().is_empty());
    }
    assert!(passed_on > 2, "own events are among them: {passed_on}");
    assert_eq!(service.count_forwards().await.unwrap(), 0);
    assert_eq!(service.delete_dead_forwards().await.unwrap(), 0);
}

/// What the service does for watches, from the first to the last look.
async fn watch_and_fetch(service: &Store, room: &RoomId) {
    let minute = Duration::from_mins(1);
    let watch = NewWatch {
        room_id: room.clone(),
        every: WatchInterval::DEFAULT,
        until: None,
        requested_by: None,
    };
    service.put_watch(watch).await.unwrap();
    let later = odd_rows::at("15:00:01");
    let every = WatchInterval::DEFAULT;
    service
        .start_watches(vec![room.clone()], every, later)
        .await
        .unwrap();
    // Another watch is among the rows saved above.
    let mut looks = service.take_looks(9, minute).await.unwrap();
    looks.retain(|look| look.room_id == *room);
    assert!(service.renew_look(&looks[0], minute).await.unwrap());
    service
        .release_look(&looks[0], Duration::ZERO)
        .await
        .unwrap();
    let looks = service.take_looks(9, minute).await.unwrap();
    let result = LookResult {
        outcome: LookOutcome::OK,
        peers: 0,
        changes: 0,
    };
    service.finish_look(&looks[0], result).await.unwrap();
    assert_eq!(service.take_fetch_jobs(9, minute).await.unwrap(), []);
    assert!(
        service
            .take_duty(Duty::Sessions, minute, minute)
            .await
            .unwrap()
    );
    service.finish_duty(Duty::Sessions).await.unwrap();
    service.count_watches().await.unwrap();
    service.sign_of_life(Uuid::now_v7()).await.unwrap();
    let added = service.add_reconciliation(later, None, None).await.unwrap();
    let taken = service.take_reconciliation(minute).await.unwrap().unwrap();
    assert!(service.renew_reconciliation(&taken, minute).await.unwrap());
    let piece = taken.pieces()[0];
    let workflow = Some("w-1".to_owned());
    service.note_replay(&taken, piece, workflow).await.unwrap();
    let finished = ReconciliationStep::Finished;
    let noted = service.note_reconciliation(&taken, Reconciled::default(), finished);
    noted.await.unwrap();
    let unseen = Unseen {
        unseen_for: Duration::ZERO,
        rooms: UnseenRooms::All,
    };
    for session in service.unseen_sessions(unseen, None).await.unwrap() {
        let peers = service
            .unseen_peers(Duration::ZERO, session.clone(), None)
            .await
            .unwrap();
        let departed = peers.into_iter().map(|peer| (peer, Some(later)));
        service
            .settle_unseen_peers(session.room_id, departed.collect())
            .await
            .unwrap();
    }
    assert!(
        service
            .reconciliation(added.unwrap().id)
            .await
            .unwrap()
            .is_some()
    );
    for page in [WatchPage::ByRoom(None), WatchPage::ByLateness(None)] {
        assert_eq!(service.watches(page, 9).await.unwrap().len(), 2);
    }
    assert!(service.watch(room).await.unwrap().is_some());
    assert!(service.delete_watch(room).await.unwrap());
}

#[tokio::test]
async fn the_reader_role_reads_and_writes_nothing() {
    let roles = Roles::new().await;
    odd_rows::save(&roles.store("rejoin_service")).await;
    let mut reader = roles.connect(Some("rejoin_reader")).await;
    for relation in [
        "resume_state",
        "snapshot_history",
        "peer_presence",
        "peers",
        "snapshots",
    ] {
        let count = format!("SELECT count(*) FROM {relation}");
        let rows: i64 = sqlx::query_scalar(AssertSqlSafe(count))
            .fetch_one(&mut reader)
            .await
            .unwrap();
        assert!(rows > 10, "{relation}");
    }
    // All columns but one, which a newer migration may add to.
    let columns: String = sqlx::query_scalar(
        "SELECT string_agg(attname, ', ') FROM pg_attribute
         WHERE attrelid = 'forwards'::regclass AND attnum > 0 AND NOT attisdropped AND attname <> 'headers'",
    )
    .fetch_one(&mut reader)
    .await
    .unwrap();
    let select = AssertSqlSafe(format!("SELECT {columns} FROM forwards"));
    sqlx::query(select).fetch_all(&mut reader).await.unwrap();
    for forbidden in [
        "INSERT INTO peers SELECT * FROM peers",
        "UPDATE peers SET version = 0",
        "DELETE FROM snapshots",
        "UPDATE resume_state SET role = 'x'",
        "TRUNCATE peers",
        "CREATE TABLE mine ()",
        "CREATE TEMP TABLE mine ()",
        "SELECT rejoin_make_partition('month', now(), 1)",
        "SELECT rejoin_drop_partition('1 day')",
        "SELECT rejoin_delete_late_history('1 day', 1)",
        "SELECT rejoin_delete_old_resumes('1 day', 'epoch', '', gen_random_uuid(), 1)",
        "SELECT headers FROM forwards",
        "SELECT * FROM forwards",
    ] {
        assert_denied(&roles, "rejoin_reader", forbidden).await;
    }
}

/// A temporary table of the caller must not replace the table that the function works on with its
/// owner's rights.
#[tokio::test]
async fn the_function_with_its_owners_rights_trusts_no_temporary_table() {
    let roles = Roles::new().await;
    roles
        .run(None, "GRANT TEMPORARY ON DATABASE rejoin TO rejoin_service")
        .await
        .unwrap();
    let mut service = roles.connect(Some("rejoin_service")).await;
    for sql in [
        "CREATE TEMP TABLE snapshots_default (LIKE snapshots INCLUDING DEFAULTS)",
        "INSERT INTO snapshots_default (user_id, room_id, peer_id, id, source, first_observed_at, last_observed_at)
         VALUES ('u', 'r', 'p', gen_random_uuid(), 'room', '2027-05-02', '2027-05-02')",
        "SELECT rejoin_make_partition('month', '2027-05-01', 1)",
    ] {
        sqlx::raw_sql(sql).execute(&mut service).await.unwrap();
    }
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM snapshots")
        .fetch_one(&mut service)
        .await
        .unwrap();
    assert_eq!(count, 0);
}

/// Expects 42501 (insufficient privilege) or 55000 (a view cannot be changed like this).
async fn assert_denied(roles: &Roles, role: &str, sql: &str) {
    let error = roles.run(Some(role), sql).await.unwrap_err();
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .unwrap_or_default()
        .into_owned();
    assert!(
        ["42501", "55000"].contains(&code.as_str()),
        "{sql}: {error}"
    );
}
