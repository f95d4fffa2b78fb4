//! What is observed again unchanged touches no index: its rows are updated in their pages (HOT).

use chrono::TimeDelta;
use rejoin::domain::{Metadata, Observation, PeerKey, Report, Source, Timestamp};
use sqlx::PgPool;

use crate::support::postgres;
use crate::support::store::{make_partitions, store};
use crate::support::wait::until;

const PEERS: usize = 2_000;

/// A room, as it was that many minutes after a common time. The list has the order of the first one.
fn room(minutes: i64) -> Vec<Report> {
    let at: Timestamp = "2027-01-15T12:00:00Z"
        .parse::<chrono::DateTime<_>>()
        .unwrap()
        .into();
    let observation = |number: usize| {
        let key = PeerKey::new(
            format!("player-{number}").parse().unwrap(),
            "cave".parse().unwrap(),
            format!("peer-{number:0>32}").parse().unwrap(),
        );
        let metadata = format!(r#"{{"level":{number},"items":["sword","shield"],"hp":71}}"#);
        let at = at.shifted(TimeDelta::minutes(minutes));
        Observation::new(
            key.unwrap(),
            at,
            Source::Room,
            Metadata::from_text(metadata),
        )
    };
    (0..PEERS)
        .map(|number| Report::Observed(observation(number)))
        .collect()
}

/// How many rows were updated in the tables of this name or of its partitions: all, and those that
/// touched no index.
async fn updates(pool: &PgPool, table: &str) -> (i64, i64) {
    let updates =
        "SELECT coalesce(sum(n_tup_upd), 0)::bigint, coalesce(sum(n_tup_hot_upd), 0)::bigint
                   FROM pg_stat_user_tables WHERE relname ~ $1";
    let updates = sqlx::query_as(updates).bind(format!("^{table}"));
    updates.fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn what_is_observed_again_touches_no_index() {
    let database = postgres::database().await;
    let (store, pool) = (store(database.url()), database.pool().await);
    let observed_at = room(0)[0].latest_at();
    make_partitions(&store, observed_at).await;
    let mut counted = Vec::new();
    for round in 0..5 {
        for saved in store.save_all(room(2 * round)).await {
            saved.unwrap();
        }
        let all = i64::try_from(PEERS).unwrap() * round;
        for table in ["peers", "snapshots"] {
            let is_counted = async || updates(&pool, table).await.0 >= all;
            until("the updates are counted", is_counted).await;
            counted.push((table, round, updates(&pool, table).await));
        }
    }
    let of = |table: &str, round: i64| {
        let mut counted = counted.iter();
        let found = counted.find(|known| known.0 == table && known.1 == round);
        found.unwrap().2
    };
    for (table, percent) in [("peers", 90), ("snapshots", 50)] {
        let ((all, hot), (all_before, hot_before)) = (of(table, 4), of(table, 2));
        assert!(
            (hot - hot_before) * 100 >= (all - all_before) * percent,
            "{table}: {counted:?}"
        );
    }
    // A single one always finds space.
    let before = updates(&pool, "peers").await;
    let again = room(20).swap_remove(7);
    store.report(again).await.unwrap();
    until("the update is counted", async || {
        updates(&pool, "peers").await.0 > before.0
    })
    .await;
    assert_eq!(updates(&pool, "peers").await, (before.0 + 1, before.1 + 1));
}
