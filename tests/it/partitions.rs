//! The partitions of history, which are made and dropped while it is read and written.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, Months, TimeDelta, Utc};
use futures_util::future::join_all;
use rejoin::domain::{
    Clock, Label, Metadata, Observation, PartitionPeriod, PeerKey, Source, Timestamp,
};
use rejoin::service::PartitionWorker;
use rejoin::store::{PartitionStep, ResumeQuery, Store, StoreConfig};
use sqlx::PgPool;

use crate::support::postgres;
use crate::support::store::{history, make_partitions, saved_state};

const MONTHS: u32 = 24;

fn month(number: u32) -> DateTime<Utc> {
    let first: DateTime<Utc> = "2027-01-15T12:00:00Z".parse().unwrap();
    first + Months::new(number)
}

fn observation(peer: &str, at: DateTime<Utc>) -> Observation {
    let key = PeerKey::new(
        "player-7".parse().unwrap(),
        "cave".parse().unwrap(),
        peer.parse().unwrap(),
    );
    Observation::new(
        key.unwrap(),
        at.into(),
        Source::Room,
        Metadata::from_text(at.to_rfc3339()),
    )
}

/// Rows are in the default partition, as after months without a running service, or where the first
/// start writes at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_is_visible_while_partitions_are_made() {
    let database = postgres::database().await;
    let store = Store::new(database.url().parse().unwrap(), &StoreConfig::default());
    for number in 0..MONTHS {
        store.save(observation("old", month(number))).await.unwrap();
    }
    let done = AtomicBool::new(false);
    let pool = database.pool().await;
    let readers = join_all((0..4).map(async |_| {
        while !done.load(Ordering::SeqCst) {
            // Planned each time, as the first statement of a connection is.
            let count = sqlx::query_scalar::<_, i64>(
                "SELECT count(*) FROM snapshots WHERE peer_id = 'old'",
            );
            assert_eq!(
                count.persistent(false).fetch_one(&pool).await.unwrap(),
                i64::from(MONTHS)
            );
        }
    }));
    let writer = async {
        let mut second = 0;
        while !done.load(Ordering::SeqCst) {
            second += 1;
            let at = month(second % MONTHS) + TimeDelta::seconds(second.into());
            store
                .save(observation(&format!("new-{second}"), at))
                .await
                .unwrap();
        }
    };
    let maker = async {
        for number in 0..MONTHS {
            make_partitions(&store, month(number).into()).await;
        }
        done.store(true, Ordering::SeqCst);
    };
    tokio::join!(readers, writer, maker);
}

/// Old months are dropped while the peer lives on. What arrives late is judged by what is known of
/// the peer, not by the rows that are left.
#[tokio::test]
async fn what_arrives_late_does_not_change_a_state_whose_history_was_deleted() {
    let database = postgres::database().await;
    let store = Store::new(database.url().parse().unwrap(), &StoreConfig::default());
    let pool = database.pool().await;
    let say = async |text: &str, second: i64| {
        let at = month(0) + TimeDelta::seconds(second);
        let said = Observation {
            metadata: Metadata::from_text(text),
            ..observation("living", at)
        };
        store.save(said).await.unwrap();
    };
    let resumed = async || {
        let query = ResumeQuery {
            user_id: "player-7".parse().unwrap(),
            room_id: None,
            exclude_peer_id: None,
        };
        let state = store.resume(query).await.unwrap().unwrap();
        (state.metadata, state.changed_at.to_utc())
    };
    say("first", 50).await;
    for keep_last in [false, true] {
        // The peer is erased, and its history is kept.
        sqlx::query("DELETE FROM peers")
            .execute(&pool)
            .await
            .unwrap();
        say("first", 50).await;
        say("mine", 100).await;
        // Another row of the same metadata, as where the role changes.
        let at = month(0) + TimeDelta::seconds(200);
        let promoted = Observation {
            metadata: Metadata::from_text("mine"),
            role: Some(Label::new("admin")),
            ..observation("living", at)
        };
        store.save(promoted).await.unwrap();
        let deleted = if keep_last {
            "DELETE FROM snapshots WHERE first_observed_at < '2027-01-15T12:03:00Z'"
        } else {
            "DELETE FROM snapshots"
        };
        sqlx::query(deleted).execute(&pool).await.unwrap();
        for _ in 0..2 {
            say("late", 75).await;
            say("mine", 190).await;
        }
        let state = (
            Metadata::from_text("mine"),
            month(0) + TimeDelta::seconds(100),
        );
        assert_eq!(resumed().await, state, "keep_last: {keep_last}");
    }
}

/// The partitions and what time each is of, in their order.
async fn partitions(pool: &PgPool) -> Vec<String> {
    let list = "SELECT part::text || ' ' || (lower AT TIME ZONE 'UTC')::date || ' ' || (upper AT TIME ZONE 'UTC')::date
                FROM rejoin_history_partitions() ORDER BY lower";
    sqlx::query_scalar(list).fetch_all(pool).await.unwrap()
}

async fn make_all(store: &Store, period: PartitionPeriod, now: &str) {
    let now: DateTime<Utc> = now.parse().unwrap();
    let make = async || store.make_partition(period, now.into()).await.unwrap();
    while make().await != PartitionStep::Finished {}
}

/// Where the setting changes, the partitions that are there stay, and the new ones go on from them.
#[tokio::test]
async fn partitions_of_another_period_begin_where_those_that_are_there_end() {
    let database = postgres::database().await;
    let store = Store::new(database.url().parse().unwrap(), &StoreConfig::default());
    let pool = database.pool().await;
    sqlx::query("SELECT rejoin_prepare_partitions('2027-01-15', 1)")
        .execute(&pool)
        .await
        .unwrap();
    make_all(&store, PartitionPeriod::Week, "2027-02-24T12:00:00Z").await;
    let weeks = partitions(&pool).await;
    make_all(&store, PartitionPeriod::Week, "2027-02-24T12:00:00Z").await;
    assert_eq!(partitions(&pool).await, weeks);
    make_all(&store, PartitionPeriod::Month, "2027-03-01T00:00:00Z").await;
    assert_eq!(
        partitions(&pool).await,
        [
            "snapshots_2027_01 2027-01-01 2027-02-01",
            "snapshots_2027_02 2027-02-01 2027-03-01",
            "snapshots_2027_03_01 2027-03-01 2027-03-08",
            "snapshots_2027_03_08 2027-03-08 2027-03-15",
            "snapshots_2027_03_15 2027-03-15 2027-03-22",
            "snapshots_2027_03_22 2027-03-22 2027-03-29",
            "snapshots_2027_03_29 2027-03-29 2027-04-01",
            "snapshots_2027_04 2027-04-01 2027-05-01",
            "snapshots_2027_05 2027-05-01 2027-06-01",
        ]
    );
    make_all(&store, PartitionPeriod::Day, "2027-05-30T23:59:59Z").await;
    let all = partitions(&pool).await;
    assert_eq!(all.len(), 9 + 13);
    assert_eq!(
        all.last().unwrap(),
        "snapshots_2027_06_13 2027-06-13 2027-06-14"
    );
}

fn days_ago(days: i64) -> DateTime<Utc> {
    Utc::now() - TimeDelta::days(days)
}

const KEEP: Duration = Duration::from_hours(30 * 24);

/// Weeks of history from a hundred days ago on, with a state 60 days ago, and one of another peer
/// before it.
async fn weeks_of_history(store: &Store) {
    for days in [100, 65, 30, 2] {
        let now = days_ago(days).to_rfc3339();
        make_all(store, PartitionPeriod::Week, &now).await;
    }
    store
        .save(observation("first", days_ago(90)))
        .await
        .unwrap();
    store
        .save(observation("second", days_ago(60)))
        .await
        .unwrap();
}

#[tokio::test]
async fn history_goes_once_it_is_old_and_a_resume_answers_as_before() {
    let database = postgres::database().await;
    let store = Store::new(database.url().parse().unwrap(), &StoreConfig::default());
    let pool = database.pool().await;
    weeks_of_history(&store).await;
    let user = "player-7".parse().unwrap();
    let state = saved_state(&store, &user).await;
    assert!(state.is_some());
    let worker = |keep| {
        let clock = Clock::system();
        PartitionWorker::new(store.clone(), clock, PartitionPeriod::Week, keep)
    };
    let forget_duty = async || {
        let forget = "DELETE FROM duties WHERE name = 'partitions'";
        sqlx::query(forget).execute(&pool).await.unwrap();
    };
    let count = async |condition: &str| {
        let count = format!("SELECT count(*) FROM rejoin_history_partitions() WHERE {condition}");
        let count = sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(count));
        count.fetch_one(&pool).await.unwrap()
    };
    let is_old = "upper <= now() - interval '30 days'";
    let is_not = "upper > now() - interval '30 days'";
    let kept = count(is_not).await;
    assert!(count(is_old).await > 8 && kept > 8);
    assert!(worker(None).work().await.unwrap());
    assert_eq!(history(&store, &user).await.len(), 2);
    forget_duty().await;

    assert!(worker(Some(KEEP)).work().await.unwrap());
    assert_eq!((count(is_old).await, count(is_not).await), (0, kept));
    assert!(history(&store, &user).await.is_empty());
    assert_eq!(saved_state(&store, &user).await, state);

    // What is observed late of that time has no partition any more, and goes too: in steps.
    for minute in 0..3 {
        let late = days_ago(70) + TimeDelta::minutes(minute);
        let late = observation(&format!("late-{minute}"), late);
        store.save(late).await.unwrap();
    }
    sqlx::query(
        "INSERT INTO snapshots (user_id, room_id, peer_id, id, source, first_observed_at, last_observed_at)
         SELECT 'player-' || n, 'cave', 'peer', gen_random_uuid(), 'room', now() - interval '50 days', now()
         FROM generate_series(100, 1400) AS n",
    )
    .execute(&pool)
    .await
    .unwrap();
    store.save(observation("new", days_ago(20))).await.unwrap();
    let state = saved_state(&store, &user).await;
    // Once a day.
    assert!(worker(Some(KEEP)).work().await.unwrap());
    assert_eq!(history(&store, &user).await.len(), 4);
    forget_duty().await;
    assert!(worker(Some(KEEP)).work().await.unwrap());
    assert_eq!(history(&store, &user).await.len(), 1);
    let rows = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM snapshots");
    assert_eq!(rows.fetch_one(&pool).await.unwrap(), 1);
    assert_eq!(saved_state(&store, &user).await, state);
}

/// A backup, say, reads history for long. It is not waited for: else everybody who comes later would
/// wait too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn saves_go_on_while_an_old_partition_is_still_read() {
    let database = postgres::database().await;
    let store = Store::new(database.url().parse().unwrap(), &StoreConfig::default());
    let pool = database.pool().await;
    weeks_of_history(&store).await;
    let user = "player-7".parse().unwrap();
    let before = partitions(&pool).await;
    let mut reader = pool.begin().await.unwrap();
    let count = || sqlx::query_scalar::<_, i64>("SELECT count(*) FROM snapshots");
    assert_eq!(count().fetch_one(&mut *reader).await.unwrap(), 2);

    let mut saved = 0;
    for _ in 0..10 {
        let is_waiting = AtomicBool::new(true);
        let attempt = async {
            let step = store.drop_partition(KEEP).await.unwrap();
            is_waiting.store(false, Ordering::SeqCst);
            step
        };
        let save_meanwhile = async {
            while is_waiting.load(Ordering::SeqCst) {
                saved += 1;
                let now = Timestamp::from(Utc::now());
                let observed = observation(&format!("new-{saved}"), now.to_utc());
                store.save(observed).await.unwrap();
            }
        };
        let (step, ()) = tokio::join!(attempt, save_meanwhile);
        assert_eq!(step, PartitionStep::InUse);
    }
    // Each was in the way of some of them at most: a save that waited for the reader would have failed.
    assert!(saved >= 10);
    assert_eq!(partitions(&pool).await, before);

    // The worker makes further attempts, of which one comes after the reader is gone.
    let state = saved_state(&store, &user).await;
    let clock = Clock::system();
    let worker = PartitionWorker::new(store.clone(), clock, PartitionPeriod::Week, Some(KEEP));
    let stop_reading = async {
        store.drop_partition(KEEP).await.unwrap();
        reader.rollback().await.unwrap();
    };
    let (is_finished, ()) = tokio::join!(worker.work(), stop_reading);
    assert!(is_finished.unwrap());
    assert!(partitions(&pool).await.len() < before.len());
    assert_eq!(count().fetch_one(&pool).await.unwrap(), saved);
    assert_eq!(saved_state(&store, &user).await, state);
}
