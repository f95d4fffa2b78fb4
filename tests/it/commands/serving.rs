//! `rejoin serve`, and the commands that go with it.

use super::scene;
use crate::support::command::{rejoin, settings};
use crate::support::postgres;
use crate::support::program::{Program, Upstream};
use crate::support::temp::temp_dir;
use crate::support::world::SECRET;

#[tokio::test]
async fn a_database_that_is_not_utf8_is_refused_in_one_sentence() {
    let database = postgres::empty_database().await;
    let name = format!("latin1_{}", uuid::Uuid::new_v4().simple());
    let pool = database.pool().await;
    let create = format!(
        "CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    );
    sqlx::query(sqlx::AssertSqlSafe(create))
        .execute(&pool)
        .await
        .unwrap();
    let mut url = url::Url::parse(database.url()).unwrap();
    url.set_path(&name);
    let upstream = Upstream::start().await;
    let ended = rejoin(&["serve"], &settings(url.as_str(), &upstream)).await;
    let drop = format!("DROP DATABASE {name} WITH (FORCE)");
    sqlx::query(sqlx::AssertSqlSafe(drop))
        .execute(&pool)
        .await
        .unwrap();
    let ended = ended.expect(5);
    let sentence = "is encoded in LATIN1, but should be in UTF8";
    assert!(ended.err.contains(sentence), "{}", ended.err);
}

#[tokio::test]
async fn two_may_start_at_once_on_an_empty_database() {
    let (database, upstream) = (postgres::empty_database().await, Upstream::start().await);
    let variables = settings(database.url(), &upstream);
    let (one, two) = tokio::join!(
        Program::start(&[], &variables),
        Program::start(&[], &variables)
    );
    for served in [&one, &two] {
        served.app().get("/health/ready").await.expect(200);
        assert_eq!(
            served.app().resume("player-7").await.expect(404).code(),
            "no-saved-metadata"
        );
    }
    for served in [one, two] {
        let (status, said) = served.stop().await;
        assert!(status.success(), "{said}");
    }
}

#[tokio::test]
async fn without_migrations_an_empty_database_stays_empty() {
    let (database, upstream) = (postgres::empty_database().await, Upstream::start().await);
    let variables = settings(database.url(), &upstream);
    let served = Program::start(&["--no-migrate"], &variables).await;
    assert_eq!(
        served.app().resume("player-7").await.expect(500).code(),
        "internal"
    );
    rejoin(&["migrate"], &variables).await.expect(0);
    assert_eq!(
        served.app().resume("player-7").await.expect(404).code(),
        "no-saved-metadata"
    );
}

#[tokio::test]
async fn a_new_key_opens_the_service_and_never_shows_up_in_its_log() {
    let (database, upstream) = scene().await;
    upstream.join("player-7", "peer-1", "a state that is no one's business");
    let made = rejoin(
        &[
            "key",
            "new",
            "--name",
            "game-server",
            "--scopes",
            "snapshot+resume",
        ],
        &[],
    )
    .await
    .expect(0);
    let [key, entry] = made
        .out
        .lines()
        .collect::<Vec<_>>()
        .try_into()
        .expect("the key, and the line for the setting");
    assert!(entry.starts_with("game-server:snapshot+resume:") && !entry.contains(key));

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, format!("# keys\n{entry}\n")).unwrap();
    let in_variable = [("REJOIN_API_KEYS", entry)];
    let in_file = [("REJOIN_API_KEYS_FILE", file.path().to_str().unwrap())];
    for keys in [in_variable, in_file] {
        let served = Program::start(
            &[],
            &[&settings(database.url(), &upstream)[..], &keys].concat(),
        )
        .await;
        let app = served.app();
        assert_eq!(
            app.resume("player-7").await.expect(401).code(),
            "unauthorized"
        );
        let app = app.with_key(key);
        assert!(app.snapshot("peer-1").await.status.is_success());
        app.resume("player-7").await.expect(200);
        assert_eq!(
            app.history("player-7").await.expect(403).code(),
            "forbidden"
        );
        let (status, said) = served.stop().await;
        assert!(status.success(), "{said}");
        assert!(
            said.contains("game-server") && said.contains("/v1/users/{user_id}/resume"),
            "{said}"
        );
        for secret in [key, SECRET, "player-7", "no one's business"] {
            assert!(!said.contains(secret), "{secret}: {said}");
        }
    }
    let refused = rejoin(
        &["key", "new", "--name", "no spaces", "--scopes", "admin"],
        &[],
    )
    .await
    .expect(2);
    assert!(refused.err.contains("--name"), "{}", refused.err);
    let refused = rejoin(
        &["key", "new", "--name", "n", "--scopes", "everything"],
        &[],
    )
    .await
    .expect(2);
    assert!(refused.err.contains("--scopes"), "{}", refused.err);
}

#[tokio::test]
async fn an_embedded_database_keeps_its_data_over_a_restart() {
    let upstream = Upstream::start().await;
    upstream.join("player-7", "peer-1", "hp 71");
    let dir = temp_dir();
    let data = dir.path().join("data");
    let arguments = ["--embedded-postgres", data.to_str().unwrap()];
    let mut variables = settings("", &upstream);
    variables.retain(|(name, _)| *name != "DATABASE_URL");

    let served = Program::start(&arguments, &variables).await;
    served.app().snapshot("peer-1").await.expect(201);
    let saved = served.app().history("player-7").await.expect(200).json();
    let (status, said) = served.stop().await;
    assert!(status.success(), "{said}");

    let served = Program::start(&arguments, &variables).await;
    assert_eq!(
        served.app().history("player-7").await.expect(200).json(),
        saved
    );
    served.app().resume("player-7").await.expect(200);
    let (status, said) = served.stop().await;
    assert!(status.success(), "{said}");
}
