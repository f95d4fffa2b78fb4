//! The partitions of history, which are made while it is read and written.

use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, Months, Utc};
use futures_util::future::join_all;
use rejoin::domain::{Metadata, Observation, PeerKey, Source};
use rejoin::store::{Store, StoreConfig};

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
