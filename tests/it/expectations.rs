//! What a write expects of its peer and does not find there: another replica, or an admin, was there meanwhile.

use rejoin::domain::{
    EventReport, Label, Metadata, Observation, PeerKey, Presence, Report, Snapshot, Source,
    Timestamp, Tracks, UserId,
};
use rejoin::store::Store;

use crate::support::postgres::{self, Database};
use crate::support::store::{at, history, new_user, saved_state, store};

fn seen(user: &UserId, second: i64, metadata: &str) -> Observation {
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

/// The metadata of each row, and the seconds in which it was seen first and last.
fn told(rows: &[Snapshot]) -> Vec<(&str, u64, u64)> {
    let second = |seen: Timestamp| seen.seconds_since(at(0));
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
async fn what_another_replica_wrote_meanwhile_is_built_on() {
    let database = postgres::database().await;
    let (one, two, user) = (store(database.url()), store(database.url()), new_user());
    one.save(Observation {
        role: Some(Label::new("player")),
        ..seen(&user, 1, "a")
    })
    .await
    .unwrap();
    two.save(Observation {
        role: Some(Label::new("judge")),
        ..seen(&user, 2, "b")
    })
    .await
    .unwrap();
    // To who knows only of the first sight, it is the same state, still.
    assert!(one.save(seen(&user, 3, "a")).await.unwrap().changed);
    assert_eq!(
        resumed(&one, &user).await,
        Some(("a".to_owned(), Some("judge".to_owned()), 3))
    );
    assert_eq!(
        told(&history(&one, &user).await),
        [("a", 3, 3), ("b", 2, 2), ("a", 1, 1)]
    );
}

#[tokio::test]
async fn of_a_user_that_was_erased_nothing_comes_back() {
    let database = postgres::database().await;
    let (store, user) = (store(database.url()), new_user());
    let tracks = Tracks::from_wire(r#"{"t":{"mute":true}}"#);
    let first = Observation {
        role: Some(Label::new("player")),
        tracks,
        source: Source::Peer,
        ..seen(&user, 1, "a")
    };
    store.save(first).await.unwrap();
    erase(&database, &user).await;
    // The same state again would only extend what is gone; an old sight would be late for it.
    assert!(store.save(seen(&user, 5, "a")).await.unwrap().changed);
    assert_eq!(
        resumed(&store, &user).await,
        Some(("a".to_owned(), None, 5))
    );
    assert_eq!(told(&history(&store, &user).await), [("a", 5, 5)]);
    erase(&database, &user).await;
    assert!(store.save(seen(&user, 3, "old")).await.unwrap().changed);
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
async fn the_same_version_of_another_past_is_not_mistaken_for_ours() {
    let database = postgres::database().await;
    let (one, two, user) = (store(database.url()), store(database.url()), new_user());
    one.save(seen(&user, 1, "a")).await.unwrap();
    erase(&database, &user).await;
    two.save(seen(&user, 2, "b")).await.unwrap();
    one.save(seen(&user, 3, "a")).await.unwrap();
    assert_eq!(resumed(&one, &user).await, Some(("a".to_owned(), None, 3)));
    assert_eq!(
        told(&history(&one, &user).await),
        [("a", 3, 3), ("b", 2, 2)]
    );
}

#[tokio::test]
async fn a_join_that_is_told_again_elsewhere_changes_nothing() {
    let database = postgres::database().await;
    let user = new_user();
    let join = || {
        let joined = seen(&user, 1, "");
        Report::Event(EventReport {
            metadata: Some(joined.metadata),
            presence: Presence {
                connected_since: Some(at(1)),
                session_id: None,
                ended: None,
            },
            ..EventReport::new(joined.key, joined.observed_at)
        })
    };
    assert!(join().is_first_of_its_peer());
    let first = store(database.url());
    assert!(first.report(join()).await.unwrap().changed);
    first.save(seen(&user, 2, "a")).await.unwrap();
    let before = history(&first, &user).await;
    // Through one that never heard of the peer, through one that did, and many at once.
    for _ in 0..2 {
        let again = store(database.url());
        for saved in futures_util::future::join_all((0..8).map(|_| again.report(join()))).await {
            assert!(!saved.unwrap().changed);
        }
        assert!(!first.report(join()).await.unwrap().changed);
    }
    assert_eq!(history(&first, &user).await, before);
    assert_eq!(
        resumed(&first, &user).await,
        Some(("a".to_owned(), None, 2))
    );
}
