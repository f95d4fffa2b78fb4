//! A write whose expected baseline is wrong: another replica or an admin has changed the peer
//! meanwhile.

use rejoin::domain::{
    EventKind, EventReport, Label, Metadata, Observation, PeerKey, Presence, Report, Snapshot,
    Source, Timestamp, Tracks, UserId,
};
use rejoin::store::Store;
use uuid::Uuid;

use crate::support::postgres::{self, Database};
use crate::support::store::{at, history, new_user, saved_state, store};

fn observation(user: &UserId, second: i64, metadata: &str) -> Observation {
    let key = PeerKey::new(
        user.clone(),
        "cave".parse().unwrap(),
        "peer-1".parse().unwrap(),
    )
    .unwrap();
    Observation::new(key, at(second), Source::Room, Metadata::from_text(metadata))
}

/// The metadata, the role and the second of the change that a resume returns.
async fn resumed(store: &Store, user: &UserId) -> Option<(String, Option<String>, u64)> {
    let state = saved_state(store, user).await?;
    let role = state.role.map(|role| role.as_str().to_owned());
    Some((
        state.metadata.raw().unwrap().to_owned(),
        role,
        state.changed_at.seconds_since(at(0)),
    ))
}

async fn erase(database: &Database, user: &UserId) {
    let pool = database.pool().await;
    for statement in [
        "DELETE FROM peers WHERE user_id = $1",
        "DELETE FROM snapshots WHERE user_id = $1",
    ] {
        let erased = sqlx::query(statement)
            .bind(user.as_str())
            .execute(&pool)
            .await
            .unwrap();
        assert!(erased.rows_affected() > 0);
    }
}

/// The metadata of each row, and the seconds in which it was observed first and last.
fn observed_seconds(rows: &[Snapshot]) -> Vec<(&str, u64, u64)> {
    let second = |instant: Timestamp| instant.seconds_since(at(0));
    rows.iter()
        .map(|row| {
            (
                row.metadata.raw().unwrap(),
                second(row.first_observed_at),
                second(row.last_observed_at),
            )
        })
        .collect()
}

#[tokio::test]
async fn a_write_builds_on_what_another_replica_wrote_meanwhile() {
    let database = postgres::database().await;
    let (one, two, user) = (store(database.url()), store(database.url()), new_user());
    one.save(Observation {
        role: Some(Label::new("player")),
        ..observation(&user, 1, "a")
    })
    .await
    .unwrap();
    two.save(Observation {
        role: Some(Label::new("judge")),
        ..observation(&user, 2, "b")
    })
    .await
    .unwrap();
    // The first replica knows only of its own write, to which this would be a repetition.
    assert!(one.save(observation(&user, 3, "a")).await.unwrap().changed);
    assert_eq!(
        resumed(&one, &user).await,
        Some(("a".to_owned(), Some("judge".to_owned()), 3))
    );
    assert_eq!(
        observed_seconds(&history(&one, &user).await),
        [("a", 3, 3), ("b", 2, 2), ("a", 1, 1)]
    );
}

#[tokio::test]
async fn nothing_of_an_erased_user_comes_back() {
    let database = postgres::database().await;
    let (store, user) = (store(database.url()), new_user());
    let tracks = Tracks::from_wire(r#"{"t":{"mute":true}}"#);
    let first = Observation {
        role: Some(Label::new("player")),
        tracks,
        source: Source::Peer,
        ..observation(&user, 1, "a")
    };
    store.save(first).await.unwrap();
    erase(&database, &user).await;
    // To the erased rows, this would be an extension, and the next one would be out of order.
    assert!(
        store
            .save(observation(&user, 5, "a"))
            .await
            .unwrap()
            .changed
    );
    assert_eq!(
        resumed(&store, &user).await,
        Some(("a".to_owned(), None, 5))
    );
    assert_eq!(
        observed_seconds(&history(&store, &user).await),
        [("a", 5, 5)]
    );
    erase(&database, &user).await;
    assert!(
        store
            .save(observation(&user, 3, "old"))
            .await
            .unwrap()
            .changed
    );
    assert_eq!(
        resumed(&store, &user).await,
        Some(("old".to_owned(), None, 3))
    );
    let pool = database.pool().await;
    let tracks = sqlx::query_scalar::<_, Option<String>>(
        "SELECT tracks::text FROM peers WHERE user_id = $1",
    );
    assert_eq!(
        tracks.bind(user.as_str()).fetch_one(&pool).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn the_same_version_of_a_peer_that_was_erased_and_saved_anew_is_not_taken_for_the_old_one() {
    let database = postgres::database().await;
    let (one, two, user) = (store(database.url()), store(database.url()), new_user());
    one.save(observation(&user, 1, "a")).await.unwrap();
    erase(&database, &user).await;
    two.save(observation(&user, 2, "b")).await.unwrap();
    one.save(observation(&user, 3, "a")).await.unwrap();
    assert_eq!(resumed(&one, &user).await, Some(("a".to_owned(), None, 3)));
    assert_eq!(
        observed_seconds(&history(&one, &user).await),
        [("a", 3, 3), ("b", 2, 2)]
    );
}

#[tokio::test]
async fn a_join_that_another_replica_repeats_changes_nothing() {
    let database = postgres::database().await;
    let user = new_user();
    let join = || {
        let joined = observation(&user, 1, "");
        Report::Event(EventReport {
            metadata: Some(joined.metadata),
            presence: Presence {
                connected_since: Some(at(1)),
                session_id: None,
                ended: None,
            },
            ..EventReport::new(joined.key, EventKind::Join, joined.observed_at)
        })
    };
    assert!(join().is_first_of_its_peer());
    let first = store(database.url());
    assert!(first.report(join()).await.unwrap().unwrap().changed);
    first.save(observation(&user, 2, "a")).await.unwrap();
    let before = history(&first, &user).await;
    // Through replicas that know nothing of the peer, many times at once, and through the one that
    // does.
    for _ in 0..2 {
        let again = store(database.url());
        for saved in futures_util::future::join_all((0..8).map(|_| again.report(join()))).await {
            assert!(!saved.unwrap().unwrap().changed);
        }
        assert!(!first.report(join()).await.unwrap().unwrap().changed);
    }
    assert_eq!(history(&first, &user).await, before);
    assert_eq!(
        resumed(&first, &user).await,
        Some(("a".to_owned(), None, 2))
    );
}

/// A peer that is seen again unchanged, with metadata that Postgres stores apart from its row.
#[tokio::test]
async fn metadata_that_stays_is_not_written_again() {
    let database = postgres::database().await;
    let (store, pool) = (store(database.url()), database.pool().await);
    let user = new_user();
    // Hardly compressible.
    let ids = std::iter::repeat_with(|| Uuid::new_v4().to_string());
    let metadata: String = ids.take(500).collect();
    let stored = async || -> i64 {
        let sql =
            "SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE oid = 'peers'::regclass";
        sqlx::query_scalar(sql).fetch_one(&pool).await.unwrap()
    };
    store.save(observation(&user, 0, &metadata)).await.unwrap();
    let once = stored().await;
    assert!(once > 8_000, "{once}");
    for second in 1..=20 {
        let saved = store
            .save(observation(&user, second, &metadata))
            .await
            .unwrap();
        assert!(!saved.changed);
    }
    assert_eq!(stored().await, once);
    let rows = history(&store, &user).await;
    assert_eq!(observed_seconds(&rows), [(&*metadata, 0, 20)]);
    store.save(observation(&user, 21, "hp 1")).await.unwrap();
    assert_eq!(resumed(&store, &user).await.unwrap().0, "hp 1");
}
