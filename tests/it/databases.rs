//! The databases that the tests get.

use sqlx::Connection;

use crate::support::postgres::{self, Choice};

#[tokio::test]
async fn every_test_has_a_database_of_its_own() {
    let (one, other) = (postgres::database().await, postgres::database().await);
    sqlx::query("CREATE TABLE mine (id int)")
        .execute(&one.pool().await)
        .await
        .unwrap();
    let elsewhere = sqlx::query("SELECT * FROM mine")
        .execute(&other.pool().await)
        .await;
    assert!(
        elsewhere
            .unwrap_err()
            .to_string()
            .contains("does not exist")
    );
}

#[tokio::test]
async fn a_database_goes_with_its_test() {
    let database = postgres::empty_database().await;
    let (url, pool) = (database.url().to_owned(), database.pool().await);
    drop(database);
    assert!(pool.acquire().await.is_err());
    assert!(
        sqlx::PgConnection::connect(&url)
            .await
            .unwrap_err()
            .to_string()
            .contains("does not exist")
    );
}

#[test]
fn a_forced_choice_is_one_of_three() {
    assert_eq!(Choice::forced(None), Ok(None));
    assert_eq!(Choice::forced(Some("")), Ok(None));
    assert_eq!(Choice::forced(Some("url")), Ok(Some(Choice::Url)));
    assert_eq!(Choice::forced(Some("docker")), Ok(Some(Choice::Docker)));
    assert_eq!(Choice::forced(Some("embedded")), Ok(Some(Choice::Embedded)));
    let sentence = Choice::forced(Some("podman")).unwrap_err();
    assert_eq!(
        sentence,
        "TEST_POSTGRES is `podman`, and it should be `url`, `docker` or `embedded`"
    );
}
