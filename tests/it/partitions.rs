//! The partitions of history, which are made while it is read and written.

use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, Months, Utc};
use futures_util::future::join_all;
use rejoin::domain::{Label, Metadata, Observation, PeerKey, Source};
use rejoin::store::{ResumeQuery, Store, StoreConfig};

use crate::support::postgres;

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
            let at = month(second % MONTHS) + chrono::TimeDelta::seconds(second.into());
            store
                .save(observation(&format!("new-{second}"), at))
                .await
                .unwrap();
        }
    };
    let maker = async {
        for number in 0..MONTHS {
            store
                .prepare_partitions(month(number).into())
                .await
                .unwrap();
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
        let at = month(0) + chrono::TimeDelta::seconds(second);
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
        let at = month(0) + chrono::TimeDelta::seconds(200);
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
            month(0) + chrono::TimeDelta::seconds(100),
        );
        assert_eq!(resumed().await, state, "keep_last: {keep_last}");
    }
}
